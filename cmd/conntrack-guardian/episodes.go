package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/record"
	episode "github.com/conntrack-guardian/conntrack-guardian/guard/record/page"
)

func episodesCommand(f *flags) *cobra.Command {
	var html string
	cmd := &cobra.Command{
		Use:   "episodes [ID|FILE]",
		Short: "Show the episodes of trouble that were recorded",
		Long: `Show the episodes of trouble that were recorded.

Without an argument they are listed, oldest first: PEAK is the highest
utilization, LOST what the kernel counted as lost, CHANGES how many were made
and how many of them were left in force when the record ends.

With an id (or the file of an episode, NAME.episode, also one from elsewhere) it
is told what happened: a plot of the entries and of nf_conntrack_max with what
was lost, the changes that were made and taken back, cause and evidence, who
filled the table, and kernel values that differ.

--html writes the same as one page that needs nothing else, for a report of the
incident (- is the standard output). It names addresses of clients.

Times are UTC. Where the locale is not UTF-8 (LC_ALL, LC_CTYPE, LANG) the text
is ASCII.`,
		Example: `  conntrack-guardian episodes
  conntrack-guardian episodes 20260301T031134Z
  conntrack-guardian episodes 20260301T031134Z --html report.html`,
		Args: program.Args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			switch {
			case html != "" && (len(args) == 0 || f.json):
				return program.Misuse("--html is for one episode, and without --json")
			case len(args) == 0:
				return f.listEpisodes(out)
			}
			r, err := f.readEpisode(args[0])
			switch {
			case err != nil:
				return err
			case f.json:
				return program.PrintJSON(out, r)
			case html != "":
				return writePage(out, html, r)
			}
			return r.Text(out, !utf8Locale(os.Getenv))
		},
	}
	f.stateFlag(cmd)
	program.JSONFlag(cmd, &f.json)
	cmd.Flags().StringVar(&html, "html", "", "write the episode as a page to `FILE`")
	_ = cmd.MarkFlagFilename("html", "html") // fails only for a flag that is not there
	return cmd
}

// readEpisode reads one by its id, or the file it is in.
func (f *flags) readEpisode(name string) (*episode.Report, error) {
	id := name
	find := func() (*record.Record, error) { return record.Find(recordDir(f.stateDir), name) }
	if strings.ContainsRune(name, filepath.Separator) || strings.HasSuffix(name, record.EpisodeSuffix) {
		id = idOf(name)
		find = func() (*record.Record, error) { return record.Read(name) }
	}
	r, err := find()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (the command without arguments lists what there is; --state-dir names the directory)", err)
	}
	if err != nil {
		return nil, err
	}
	begin, end := r.Values()
	return episode.Build(r.Steps(), id, begin, end)
}

// idOf is the id by which an episode's file is named, empty where it was renamed: it is
// of the first episode in it then.
func idOf(file string) string {
	id := strings.TrimSuffix(filepath.Base(file), record.EpisodeSuffix)
	if _, err := time.Parse(episode.IDForm, id); err != nil {
		return ""
	}
	return id
}

// utf8Locale reports whether the environment names a locale with UTF-8, as setlocale
// finds it.
func utf8Locale(env func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := strings.ToLower(env(name)); value != "" {
			return strings.Contains(value, "utf-8") || strings.Contains(value, "utf8")
		}
	}
	return false
}

// writePage writes a page to a file, whole or not at all, or to the standard output. It
// names clients: not everybody may read it, as the record that it is made of.
func writePage(out io.Writer, file string, r *episode.Report) error {
	var b bytes.Buffer
	if err := r.HTML(&b, writtenBy()); err != nil {
		return err
	}
	if file == "-" {
		_, err := b.WriteTo(out)
		return err
	}
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() { // such as a pipe
		return os.WriteFile(file, b.Bytes(), 0)
	}
	if err := renameio.WriteFile(file, b.Bytes(), 0o640); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// writtenBy says by what, where and when a page is written.
func writtenBy() string {
	by := "Written by conntrack-guardian " + program.Version()
	if host, err := os.Hostname(); err == nil {
		by += " on " + host
	}
	return by + ", " + time.Now().UTC().Format("2006-01-02 15:04:05") + "."
}
