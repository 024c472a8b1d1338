package vectors

import "testing"

func TestLoad(t *testing.T) {
	for name, count := range map[string]int{"udf": 31, "dare-envelope": 6, "profiles": 21} {
		list, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != count {
			t.Errorf("%s: %d vectors, want %d", name, len(list), count)
		}
		for _, v := range list {
			switch {
			case v.Status != Verified && v.Status != Fails:
				t.Errorf("%s: status %q", v.ID, v.Status)
			case v.Status == Fails && len(v.Corrected) == 0:
				t.Errorf("%s fails and has no corrected value", v.ID)
			}
		}
	}
	if _, err := Load("auth_vectors"); err == nil {
		t.Error("a file without vectors was loaded")
	}
	if _, err := Load("none"); err == nil {
		t.Error("a missing file was loaded")
	}
}

func TestWantTakesCorrectedValues(t *testing.T) {
	v := Vector{Expected: Fields{"a": []byte(`"1"`), "b": []byte(`"2"`)}, Corrected: Fields{"b": []byte(`"3"`)}}
	if w := v.Want(); w.Text("a") != "1" || w.Text("b") != "3" {
		t.Errorf("got %s", w)
	}
}

func TestFields(t *testing.T) {
	f := Fields{"text": []byte(`"0a_-"`), "folded": []byte(`"-_\n  8"`), "n": []byte(`3`), "yes": []byte(`true`), "hex": []byte(`"0aff"`)}
	if f.Text("text") != "0a_-" || f.Int("n") != 3 || !f.Bool("yes") || !f.Has("n") || f.Has("m") {
		t.Error("text, number or boolean")
	}
	if got := f.Hex("hex"); len(got) != 2 || got[1] != 0xff {
		t.Errorf("hex %x", got)
	}
	if got := f.Base64("folded"); len(got) != 2 || got[0] != 0xfb {
		t.Errorf("base64url %x", got)
	}
	for name, read := range map[string]func(){
		"none":        func() { f.Text("none") },
		"of a number": func() { f.Text("n") },
		"not hex":     func() { f.Hex("text") },
		"not base64":  func() { Fields{"a": []byte(`"+"`)}.Base64("a") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: read", name)
				}
			}()
			read()
		}()
	}
}
