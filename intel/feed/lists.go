package feed

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/testudo-sec/testudo/intel"
)

// Bounds of the lists.
const (
	maxExploited    = 32 << 20
	maxProbability  = 256 << 20 // unpacked
	maxListEntries  = 2_000_000
	maxListDownload = 64 << 20
)

// parseExploited reads CISA's list of known exploited vulnerabilities (JSON). Entries that are no entries are counted.
func parseExploited(r io.Reader) (entries []intel.Exploited, date time.Time, broken int, err error) {
	var list struct {
		Released string            `json:"dateReleased"`
		Items    []json.RawMessage `json:"vulnerabilities"`
	}
	text, err := io.ReadAll(io.LimitReader(r, maxExploited+1))
	if err == nil && len(text) > maxExploited {
		err = fmt.Errorf("it has more than %d bytes", maxExploited)
	}
	if err == nil && bytes.Count(text, []byte("{")) > maxObjects {
		err = fmt.Errorf("it has more than %d entries", maxObjects)
	}
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		return nil, date, 0, fmt.Errorf("not a list of exploited vulnerabilities: %w", err)
	}
	for _, raw := range list.Items {
		var item struct {
			CVE        string `json:"cveID"`
			Added      string `json:"dateAdded"`
			Due        string `json:"dueDate"`
			Ransomware string `json:"knownRansomwareCampaignUse"`
		}
		if json.Unmarshal(raw, &item) != nil || !strings.HasPrefix(item.CVE, "CVE-") {
			broken++
			continue
		}
		e := intel.Exploited{CVE: item.CVE, Ransomware: strings.EqualFold(item.Ransomware, "known")}
		e.Added, _ = time.Parse(time.DateOnly, item.Added)
		e.Due, _ = time.Parse(time.DateOnly, item.Due)
		entries = append(entries, e)
	}
	if len(entries) == 0 {
		return nil, date, broken, errors.New("not a list of exploited vulnerabilities: it has no entry")
	}
	date, _ = time.Parse(time.RFC3339Nano, list.Released)
	return entries, date, broken, nil
}

// parseProbability reads FIRST's EPSS (CSV, gzip): a comment with model and date, a heading, and lines of CVE, score
// and percentile.
func parseProbability(r io.Reader) (entries []intel.Probability, date time.Time, broken int, err error) {
	in := bufio.NewReader(r)
	if head, _ := in.Peek(2); len(head) == 2 && head[0] == 0x1f && head[1] == 0x8b {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, date, 0, fmt.Errorf("not EPSS scores: %w", err)
		}
		defer z.Close()
		in = bufio.NewReader(io.LimitReader(z, maxProbability+1))
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 4096)
	var read int64
	for lines.Scan() {
		line := lines.Text()
		if read += int64(len(line)) + 1; read > maxProbability || len(entries) > maxListEntries {
			return nil, date, broken, errors.New("not EPSS scores: it is too long")
		}
		switch {
		case strings.HasPrefix(line, "#"):
			if _, after, ok := strings.Cut(line, "score_date:"); ok {
				for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05-0700", time.DateOnly} {
					if t, err := time.Parse(layout, strings.TrimSpace(after)); err == nil {
						date = t.UTC()
					}
				}
			}
			continue
		case line == "" || strings.HasPrefix(line, "cve,"):
			continue
		}
		parts := strings.Split(line, ",")
		if len(parts) < 3 || !strings.HasPrefix(parts[0], "CVE-") {
			broken++
			continue
		}
		score, err := strconv.ParseFloat(parts[1], 64)
		percentile, err2 := strconv.ParseFloat(parts[2], 64)
		if err != nil || err2 != nil || !(score >= 0 && score <= 1) || !(percentile >= 0 && percentile <= 1) {
			broken++
			continue
		}
		entries = append(entries, intel.Probability{CVE: parts[0], Score: score, Percentile: percentile})
	}
	if err := lines.Err(); err != nil {
		return nil, date, broken, fmt.Errorf("not EPSS scores: %w", err)
	}
	if len(entries) == 0 {
		return nil, date, broken, errors.New("not EPSS scores: it has no entry")
	}
	return entries, date, broken, nil
}
