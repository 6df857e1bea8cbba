package rival

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A process is one that runs here.
type process struct {
	pid  int
	comm string   // up to 15 bytes of its name
	args []string // empty for the kernel's own
}

// run are the processes, but for our own.
func (s *search) run() []process {
	if s.looked {
		return s.processes
	}
	s.looked = true
	f, err := os.Open(s.root.proc(""))
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(2 * mostProcesses)
	for _, name := range names {
		if s.over() || len(s.processes) == mostProcesses {
			break
		}
		if pid, err := strconv.Atoi(name); err == nil && pid != os.Getpid() {
			if p, ok := s.process(pid); ok {
				s.processes = append(s.processes, p)
			}
		}
	}
	return s.processes
}

// ourComm is the beginning of our own name, which other sub-commands of ours have.
const ourComm = "conntrack-guard"

func (s *search) process(pid int) (p process, ok bool) {
	dir := s.root.proc(strconv.Itoa(pid))
	p = process{pid: pid, comm: strings.TrimSuffix(string(readSome(filepath.Join(dir, "comm"))), "\n")}
	if p.comm == "" || p.comm == ourComm || !s.root.anybody && !s.able(dir) {
		return p, false
	}
	// One line, however long: readSome would drop it.
	line := readLine(filepath.Join(dir, "cmdline"))
	for arg := range bytes.SplitSeq(bytes.TrimRight(line, "\x00"), []byte{0}) {
		p.args = append(p.args, string(arg))
	}
	return p, true
}

// netAdmin is the bit of CAP_NET_ADMIN.
const netAdmin = 12

// able reports whether a process may write sysctls of conntrack, which are root's
// (net_ctl_permissions), or change tables. Capabilities are worth that in our own user
// namespace only: anybody has them all in one of their own.
func (s *search) able(dir string) bool {
	known := false
	for line := range strings.Lines(string(readSome(filepath.Join(dir, "status")))) {
		f := strings.Fields(line)
		switch {
		case len(f) == 5 && f[0] == "Uid:":
			if known = true; f[2] == "0" { // effective
				return true
			}
		case len(f) == 2 && f[0] == "CapEff:":
			caps, err := strconv.ParseUint(f[1], 16, 64)
			if known = true; err == nil && caps&(1<<netAdmin) != 0 {
				return bytes.Equal(readSome(filepath.Join(dir, "uid_map")), readSome(s.root.proc("self/uid_map")))
			}
		}
	}
	return !known // it can't be told
}

// named are the processes of a program of one of these names.
func (s *search) named(names ...string) (some []process) {
	for _, p := range s.run() {
		if slices.ContainsFunc(names, p.is) {
			some = append(some, p)
		}
	}
	return some
}

// commBytes is how much of a program's name comm holds (TASK_COMM_LEN).
const commBytes = 15

// is reports whether the process is of the program with that name, also where that is
// a script.
func (p process) is(name string) bool {
	if p.comm == name[:min(len(name), commBytes)] {
		return true
	}
	if len(p.args) == 0 {
		return false
	}
	if filepath.Base(p.args[0]) == name {
		return true
	}
	script := slices.IndexFunc(p.args[1:], func(arg string) bool { return !strings.HasPrefix(arg, "-") })
	return interprets(p.args[0]) && script >= 0 && filepath.Base(p.args[1+script]) == name
}

// interprets reports whether a program runs scripts.
func interprets(program string) bool {
	name := strings.TrimRight(filepath.Base(program), "0123456789.")
	return slices.Contains([]string{"sh", "bash", "dash", "python", "perl", "ruby"}, name)
}

// of is the process for people to read: never its command line.
func (p process) of() string { return fmt.Sprintf("process %d", p.pid) }

// writing are processes that name the key in their command line: sysctl -w, or a shell
// that writes it again and again. One that only reads it may be among them.
func writing(s *search) (all []Suspect) {
	for _, p := range s.run() {
		line := strings.Join(p.args, " ")
		for _, d := range s.drifts {
			if !namesKey(line, d) {
				continue
			}
			all = append(all, Suspect{
				Name: plain(p.comm), Why: p.of() + ", which has " + d.short() + " in its command line",
				Likely: sets(line, d),
			})
			break
		}
	}
	for _, p := range s.named("systemd-sysctl", "sysctl") {
		if p.appliesFiles() {
			all = append(all, Suspect{Name: plain(p.comm), Why: p.of() + ", which applies files at this moment", Likely: true})
		}
	}
	return all
}

// appliesFiles reports whether a process of sysctl or systemd-sysctl writes what files
// say.
func (p process) appliesFiles() bool {
	return p.is("systemd-sysctl") || slices.ContainsFunc(p.args, func(a string) bool {
		return a == "--system" || strings.HasPrefix(a, "-p") || strings.HasPrefix(a, "--load")
	})
}

// namesKey reports whether a text names the key, and not a longer one.
func namesKey(text string, d drift) bool {
	for {
		_, after, ok := strings.Cut(text, d.short())
		if !ok {
			return false
		}
		if after == "" || !isWord(after[0]) {
			return true
		}
		text = after
	}
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// sets reports whether a text that names the key looks as if it wrote it.
func sets(text string, d drift) bool {
	return hasWord(text, d.found) || strings.Contains(text, "sysctl -w") || strings.Contains(text, d.short()+"=") || writesTo(text, d.short())
}

// into are what is written to: the file behind it.
var into = regexp.MustCompile(`(?:>\|?|\btee(?:\s+-\S+)*\s)\s*["']?([^\s"';|&<>]+)`)

// writesTo reports whether a shell's line writes to the file of that name.
func writesTo(text, name string) bool {
	return slices.ContainsFunc(into.FindAllStringSubmatch(text, -1), func(m []string) bool { return filepath.Base(m[1]) == name })
}

// hasWord reports whether a text has a word, and not only as a part of one.
func hasWord(text, word string) bool {
	return slices.Contains(strings.FieldsFunc(text, func(r rune) bool { return r > 127 || !isWord(byte(r)) }), word)
}
