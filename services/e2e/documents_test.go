package e2e_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every test, case and file that docs/guarantees.md and docs/operations.md name as holding or running something exists.
func TestDocumentsNameTests(t *testing.T) {
	root := filepath.Join("..", "..")
	var code strings.Builder
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() && strings.HasPrefix(e.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") && !strings.Contains(path, "accountstest") || e.IsDir() {
			return nil
		}
		text, err := os.ReadFile(path)
		code.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"guarantees.md", "operations.md"} {
		document, err := os.ReadFile(filepath.Join(root, "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		named := 0
		for _, m := range regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9_]*)`").FindAllStringSubmatch(string(document), -1) {
			named++
			if !strings.Contains(code.String(), "func "+m[1]+"(") {
				t.Errorf("%s names %s, which is not there", name, m[1])
			}
		}
		for _, m := range regexp.MustCompile("`accountstest/([^`…]+)`").FindAllStringSubmatch(string(document), -1) {
			if !regexp.MustCompile(`\{"` + regexp.QuoteMeta(m[1]) + `( C-[0-9]+)*", func`).MatchString(code.String()) {
				t.Errorf("%s names the case %q, which is not there", name, m[1])
			}
		}
		for _, m := range regexp.MustCompile("`(deploy/[a-z./0-9-]+)`").FindAllStringSubmatch(string(document), -1) {
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if named < 10 {
			t.Errorf("%s names %d tests", name, named)
		}
	}
}
