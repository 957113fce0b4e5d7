package verify

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestSignAWS agrees with curl 7.88 --aws-sigv4 aws:amz:us-east-1:sts for the same request.
func TestSignAWS(t *testing.T) {
	const body = "Action=GetCallerIdentity&Version=2011-06-15"
	const key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	at := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	request := func(id, token string) (*http.Request, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://sts.us-east-1.amazonaws.com/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		return r, signAWS(r, body, id, key, token, at)
	}
	r, err := request("AKIDEXAMPLE", "left alone: only temporary keys have one")
	const want = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/sts/aws4_request, SignedHeaders=content-type;host;x-amz-date, " +
		"Signature=52a8540fea00e731072179f763577cbe2a45eac2c5d32fb4d785f3eefac88165"
	if got := r.Header.Get("Authorization"); err != nil || got != want || r.Header.Get("X-Amz-Date") != "20150830T123600Z" || r.Header.Get("X-Amz-Security-Token") != "" {
		t.Errorf("%s, %v", got, err)
	}
	r, err = request("ASIAEXAMPLE", "token")
	if got := r.Header.Get("Authorization"); err != nil || !strings.Contains(got, "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token,") || r.Header.Get("X-Amz-Security-Token") != "token" {
		t.Errorf("%s, %v", got, err)
	}
	if _, err = request("ASIAEXAMPLE", ""); err == nil {
		t.Error("a temporary key without its session token was signed for")
	}
}
