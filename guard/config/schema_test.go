package config

import (
	"maps"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

const examplePath = "../../guardian.toml.example"

// Every field of a File but the hash and the sources has exactly one key, named after it or after
// its timeout, and that key sets that field.
func TestSchemaMirrorsFile(t *testing.T) {
	var f File
	want := fields("", reflect.ValueOf(&f).Elem())
	delete(want, "hash")
	delete(want, "sources")
	delete(want, bypassTable)
	want[versionKey], want[belowRFCKey] = nil, nil
	mirrors(t, schema, &f, want)
}

// Every field of a flow but its name has one, too.
func TestFlowSchemaMirrorsFlow(t *testing.T) {
	var f policy.Flow
	want := fields("", reflect.ValueOf(&f).Elem())
	delete(want, "name")
	mirrors(t, flowSchema, &f, want)
}

func mirrors[T any](t *testing.T, schema []setting[T], in *T, want map[string]any) {
	for _, s := range schema {
		field, ok := want[s.name]
		if !ok {
			t.Errorf("%s has no field, or stands twice", s.name)
			continue
		}
		delete(want, s.name)
		if s.field != nil && s.field(in) != field {
			t.Errorf("%s sets another field", s.name)
		}
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
}

// fields returns pointers to all leaves of a struct by their dotted names.
func fields(in string, v reflect.Value) map[string]any {
	all := map[string]any{}
	for i := range v.NumField() {
		name := in + spoken(v.Type().Field(i).Name)
		switch {
		case name == "policy":
			maps.Copy(all, fields("", v.Field(i)))
		case v.Field(i).Kind() == reflect.Struct:
			maps.Copy(all, fields(name+".", v.Field(i)))
		case v.Field(i).Type() == reflect.TypeFor[[policy.Timeouts]policy.FloorConfig]():
			for t := range policy.Timeouts {
				maps.Copy(all, fields(in+t.String()+".", v.Field(i).Index(int(t))))
			}
		default:
			all[name] = v.Field(i).Addr().Interface()
		}
	}
	return all
}

// spoken is a field's name in the file.
func spoken(field string) string {
	switch field {
	case "IPv4Bits":
		return "ipv4_prefix"
	case "IPv6Bits":
		return "ipv6_prefix"
	case "ReadAll":
		return "read"
	}
	return snake(field)
}

func snake(name string) string {
	var b strings.Builder
	for i, c := range name {
		if unicode.IsUpper(c) && i > 0 && !unicode.IsUpper(rune(name[i-1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

// The example is the documentation of the defaults, so it must be them, in full, and
// of flows, of which there are none by default: it shows two that do nothing.
func TestExampleIsDefault(t *testing.T) {
	got, err := Load(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Hash) != 64 {
		t.Errorf("hash %q is not a SHA-256", got.Hash)
	}
	got.Hash, got.Sources = "", nil
	want := Default()
	want.Policy.Bypass = exampleFlows()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("example says\n%+v\nbut the default is\n%+v", got, want)
	}
	for _, e := range exampleEntries(t) {
		if e.key.String() == belowRFCKey && e.value != false {
			t.Errorf("%s is %v, by default it is false", belowRFCKey, e.value)
		}
	}
}

// exampleFlows are as the example documents them. But for the mode, what can be left
// out is as it is by default.
func exampleFlows() []policy.Flow {
	resolver, ssh := newFlow("resolver"), newFlow("ssh")
	resolver.Mode, ssh.Mode = policy.Off, policy.Off
	resolver.From = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}
	resolver.To = []netip.Prefix{netip.MustParsePrefix("192.0.2.53/32"), netip.MustParsePrefix("2001:db8::53/128")}
	resolver.Proto, resolver.Ports = 17, []policy.Ports{{Low: 53, High: 53}}
	ssh.From = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8:2::/48")}
	ssh.Proto, ssh.Ports, ssh.Lifeline = 6, []policy.Ports{{Low: 22, High: 22}}, true
	return []policy.Flow{resolver, ssh}
}

// An operator who takes the flows over for real only deletes their modes.
func TestExampleFlowsActWithoutTheirMode(t *testing.T) {
	text, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	want := exampleFlows()
	want[0].Mode, want[1].Mode = policy.Act, policy.Act
	got, problems := Parse("p", []byte(strings.ReplaceAll(string(text), "\nmode = \"off\"\n", "\n")))
	if len(problems) > 0 || !reflect.DeepEqual(got.Policy.Bypass, want) {
		t.Errorf("got %+v and %v, want %+v", got.Policy.Bypass, problems, want)
	}
}

func exampleEntries(t *testing.T) []entry {
	t.Helper()
	text, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestExampleHoldsEverySetting(t *testing.T) {
	entries := exampleEntries(t)
	for _, name := range known {
		if !slices.ContainsFunc(entries, func(e entry) bool { return generic(e.key) == name }) {
			t.Errorf("%s is not in the example", name)
		}
	}
}

// The bounds that the example tells are those of the schema: one beyond each is
// refused, each itself is taken.
func TestExampleTellsBounds(t *testing.T) {
	text, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	bounds := regexp.MustCompile(`# From ([\d.]+[a-z]*)(?: to ([\d.]+[a-z]*))?[.,]`)
	table, lo, hi, told := "", "", "", 0
	for line := range strings.Lines(string(text)) {
		name, _, isKey := strings.Cut(strings.TrimSpace(line), " =")
		if m := bounds.FindStringSubmatch(line); m != nil {
			lo, hi = m[1], strings.TrimRight(m[2], ".")
			lo = strings.TrimRight(lo, ".")
		}
		switch {
		case strings.HasPrefix(line, "["):
			table = strings.Trim(line, "[]\n") + "."
		case isKey && !strings.HasPrefix(line, "#") && lo != "":
			told++
			if tables[table+name] {
				name += ".floor"
			}
			testBounds(t, table+name, lo, hi)
			lo, hi = "", ""
		}
	}
	if told < 20 {
		t.Errorf("only %d bounds found in the example", told)
	}
}

func testBounds(t *testing.T, name, lo, hi string) {
	t.Helper()
	if strings.ContainsAny(lo, "smh") {
		lo, hi = `"`+lo+`"`, `"`+hi+`"`
	}
	takes(t, name, lo, true)
	takes(t, name, below(lo), false)
	if hi != "" {
		takes(t, name, hi, true)
		takes(t, name, above(hi), false)
	}
}

func takes(t *testing.T, name, text string, want bool) {
	t.Helper()
	_, problems := Parse("p", []byte("version = 1\n"+name+" = "+text+"\n"))
	refused := slices.ContainsFunc(problems, func(p Problem) bool {
		return p.Key == name && strings.HasPrefix(p.Message, "must be from")
	})
	if refused == want {
		t.Errorf("%s = %s: taken %v, want %v: %v", name, text, !refused, want, problems)
	}
}

// below and above are values just outside a bound.
func below(text string) string {
	if d, err := time.ParseDuration(strings.Trim(text, `"`)); err == nil && text[0] == '"' {
		return strconv.Quote((d - time.Millisecond).String())
	}
	bound, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return text
	}
	if strings.Contains(text, ".") {
		return strconv.FormatFloat(bound-0.001, 'f', 3, 64)
	}
	return strconv.FormatFloat(bound-1, 'f', 0, 64)
}

func above(text string) string {
	switch {
	case strings.HasSuffix(text, `h"`), strings.HasSuffix(text, `m"`):
		return strings.TrimSuffix(text, `"`) + `1ms"`
	}
	return text + "1"
}

// The ledger and the kernel's comments have leases in whole seconds.
func TestLeaseIsInWholeSeconds(t *testing.T) {
	for text, ok := range map[string]bool{"15s": true, "1m30s": true, "15.5s": false, "15.0015s": false, "4s": false} {
		_, problems := Parse("x", []byte("version = 1\nlease = \""+text+"\"\n"))
		if (len(problems) == 0) != ok {
			t.Errorf("%s: %v", text, problems)
		}
	}
}
