package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A Setting is the value of one key of the policy as it counts, and where it comes
// from.
type Setting struct {
	Name  string `json:"setting"` // dotted
	Value string `json:"value"`   // as it would be written in the file
	File  string `json:"file"`    // "" for the program's own default
	Line  int    `json:"line"`    // 0 for the program's own default
	Col   int    `json:"col"`
	Lacks string `json:"lacks,omitempty"` // why a mode is no more than "advise": the approval that is not written
}

// Source is where the value stands, as people write it.
func (s Setting) Source() string {
	if s.File == "" {
		return "default"
	}
	return fmt.Sprintf("%s:%d", s.File, s.Line)
}

// sources are all settings, those of flows after the others.
func (r *reading) sources() (all []Setting) {
	for _, s := range schema {
		all = append(all, r.source(s.name, s.text(&r.file)))
	}
	for i := range r.file.Policy.Bypass {
		f := &r.file.Policy.Bypass[i]
		for _, s := range flowSchema {
			all = append(all, r.source(flowTable(f.Name)+"."+s.name, s.text(f)))
		}
	}
	return all
}

func (r *reading) source(name, text string) Setting {
	s := Setting{Name: name, Value: text, Lacks: r.lacks[name]}
	v, written := r.seen[name]
	switch {
	case !written:
		if text == "" { // below_rfc, which sets nothing
			s.Value = "false"
		}
		return s
	case text == "":
		s.Value = fmt.Sprint(v.any)
	}
	s.File, s.Line, s.Col = r.texts[v.at.text].Name, v.at.line, v.at.col
	return s
}

// literal writes the value of a field as it stands in the file. It knows the types of
// all that the schema sets.
func literal(v any) string {
	switch v := v.(type) {
	case *string:
		return strconv.Quote(*v)
	case *span:
		return strconv.Quote(policy.Short(*v))
	case *float64:
		return figure(*v)
	case *int:
		return strconv.Itoa(*v)
	case *bool:
		return strconv.FormatBool(*v)
	case *uint8:
		return protocolLiteral(*v)
	case *[]netip.Prefix:
		return listLiteral(*v, addressLiteral)
	case *[]policy.Ports:
		return listLiteral(*v, portsLiteral)
	case fmt.Stringer: // a choice
		return strconv.Quote(v.String())
	}
	return fmt.Sprint(v)
}

func listLiteral[T any](all []T, write func(T) string) string {
	texts := make([]string, len(all))
	for i, v := range all {
		texts[i] = write(v)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

func addressLiteral(p netip.Prefix) string {
	if p.IsSingleIP() {
		return strconv.Quote(p.Addr().String())
	}
	return strconv.Quote(p.String())
}

func portsLiteral(p policy.Ports) string {
	if p.Low == p.High {
		return portsText(p)
	}
	return strconv.Quote(portsText(p))
}

func protocolLiteral(number uint8) string {
	if name := protocolName(number); !strings.Contains(name, " ") {
		return strconv.Quote(name)
	}
	return strconv.Itoa(int(number))
}
