package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os/user"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
)

// checkFlags say what a check prints.
type checkFlags struct{ json, quiet, show bool }

func checkCommand(f *flags) *cobra.Command {
	var c checkFlags
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a policy file and its drop-ins, and print every problem",
		Long: `Check a policy file and print every problem in it, one a line:

  file:line:column: key: message

Without FILE the installed policy is checked:
` + defaultPolicy + `.
Drop-ins, guardian.d/*.toml beside the file, are read after it in lexical order:
of a setting that stands in several files the last counts.

A policy without problems is told with the mode that each measure comes to, and
with warnings of what is allowed and rarely meant. The exit code is 0 with
warnings, and 1 with problems.`,
		Args: program.Args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.quiet && c.show {
				return program.Misuse("--quiet prints nothing and --show everything: give one of them")
			}
			path := defaultPolicy
			if len(args) == 1 {
				path = args[0]
			}
			c.json = f.json
			return check(cmd, path, c)
		},
	}
	cmd.Flags().BoolVarP(&c.quiet, "quiet", "q", false, "print nothing about a policy without problems")
	cmd.Flags().BoolVar(&c.show, "show", false, "print every setting, its value, and where that stands")
	program.JSONFlag(cmd, &f.json)
	return cmd
}

// A checked policy is what check has to tell.
type checked struct {
	texts    []config.Text
	file     config.File
	problems config.Problems
	warnings config.Problems
}

func check(cmd *cobra.Command, path string, flags checkFlags) error {
	texts, err := config.Read(path)
	if err != nil {
		return unread(path, err)
	}
	c := checked{texts: texts}
	c.file, c.problems = config.ParseAll(texts)
	if len(c.problems) == 0 {
		c.warnings = append(c.file.Warnings(), groupWarning(&c.file)...)
	}
	out := cmd.OutOrStdout()
	switch {
	case flags.json:
		err = program.PrintJSON(out, c.report(flags.show))
	case len(c.problems) > 0:
		_, err = fmt.Fprintln(out, c.problems)
	case flags.show:
		err = c.printSettings(out)
	case !flags.quiet:
		err = c.print(out)
	}
	if err == nil && len(c.problems) > 0 {
		return program.ErrReported
	}
	return err
}

// unread adds to why a policy can't be read what the daemon makes of it.
func unread(path string, err error) error {
	if path == defaultPolicy && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; without it the daemon goes by its built-in policy, which only advises (guardian.toml.example is one to begin with)", err)
	}
	return err
}

// groupWarning tells of a group that is not on this machine. It may be on the one that
// the policy is for.
func groupWarning(f *config.File) config.Problems {
	name := f.Control.Group
	if name == "" {
		return nil
	}
	if _, err := user.LookupGroup(name); err == nil {
		return nil
	}
	message := fmt.Sprintf("this machine has no group %q", name)
	for _, s := range f.Sources {
		if s.Name == "control.group" {
			return config.Problems{{File: s.File, Line: s.Line, Col: s.Col, Key: s.Name, Message: message}}
		}
	}
	return nil
}

// names are the files that were read.
func (c *checked) names() []string {
	names := make([]string, len(c.texts))
	for i, t := range c.texts {
		names[i] = t.Name
	}
	return names
}
