package spell

import "testing"

func TestNearest(t *testing.T) {
	names := []string{"listen", "routes", "http_request.url.path", "waf.score", "src_endpoint.ip"}
	for word, want := range map[string]string{
		"lisen": "listen", "LISTEN": "listen", "rotues": "routes", "http_request.url.pth": "http_request.url.path",
		"url.path": "http_request.url.path", "waf.scores": "waf.score", "xyzzyplugh": "", "": "",
	} {
		if got := Nearest(word, names); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
	if got := Nearest("a", nil); got != "" {
		t.Errorf("got %q of no names", got)
	}
}

func FuzzDistance(f *testing.F) {
	f.Add("kitten", "sitting")
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a) > 200 || len(b) > 200 {
			return
		}
		d, limit := distance(a, b, 1000), max(len(a), len(b))
		if d != distance(b, a, 1000) || d > limit || (d == 0) != (a == b) {
			t.Fatalf("distance(%q, %q) = %d", a, b, d)
		}
	})
}
