package verify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"
)

// signAWS signs a request to AWS with Signature Version 4
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html). The host is SERVICE.REGION.amazonaws.com, the
// query empty. Temporary keys want their session token.
func signAWS(r *http.Request, body, id, key, token string, now time.Time) error {
	if token == "" && strings.HasPrefix(id, "ASIA") {
		return errors.New("no session token stands beside it")
	}
	labels := strings.Split(r.URL.Host, ".")
	if len(labels) != 4 {
		return errors.New("its address names no region")
	}
	service, region := labels[0], labels[1]
	stamp := now.UTC().Format("20060102T150405Z")
	scope := stamp[:8] + "/" + region + "/" + service + "/aws4_request"
	r.Header.Set("X-Amz-Date", stamp)
	signed := "content-type;host;x-amz-date"
	headers := "content-type:" + r.Header.Get("Content-Type") + "\nhost:" + r.URL.Host + "\nx-amz-date:" + stamp + "\n"
	if strings.HasPrefix(id, "ASIA") {
		r.Header.Set("X-Amz-Security-Token", token)
		signed += ";x-amz-security-token"
		headers += "x-amz-security-token:" + token + "\n"
	}
	request := strings.Join([]string{r.Method, r.URL.EscapedPath(), "", headers, signed, hexSum(body)}, "\n")
	text := strings.Join([]string{"AWS4-HMAC-SHA256", stamp, scope, hexSum(request)}, "\n")
	mac := []byte("AWS4" + key)
	for _, part := range []string{stamp[:8], region, service, "aws4_request", text} {
		mac = sum(mac, part)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+id+"/"+scope+", SignedHeaders="+signed+", Signature="+hex.EncodeToString(mac))
	return nil
}

func hexSum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func sum(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}
