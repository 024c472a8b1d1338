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
