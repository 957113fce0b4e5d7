package rxset

import "strings"

// samples are texts such as requests have: what automata are measured with, and warmed. They are short, and there
// are of each kind a few, so that New is over soon.
func samples() []string {
	all := strings.Split(strings.TrimSpace(sampleText), "\n")
	var some []string
	for i := 0; i < len(all); i += sampleStep {
		some = append(some, all[i])
	}
	return some
}

const sampleText = `
42
8f14e45fceea167a5a36dedd4bea2543
alice.miller@example.com
en-GB,en;q=0.9,de;q=0.8
text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8
Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36
Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1
https://www.example.com/products/list?page=2&sort=price&filter[color]=blue#reviews
/api/v2/orders/2026-03-14/items/19?expand=customer,lines&limit=50
application/x-www-form-urlencoded; charset=utf-8
session=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U; theme=dark; _ga=GA1.2.1.2
The quick brown fox jumps over the lazy dog, and then it sleeps; nobody selected a table from which to eat (or so they say).
Dear support, I can't log in since you've updated the site. My order number is 10-4432: please delete my account & refund $25.00!
We met at St. John's church - "a place of rest", he said - where 3 of 4 people like to drop in, create something or just wait.
Für die Größe des Geräts gilt: 20 × 30 cm. Ça va très bien, merci; naïve façade.
{"id":17,"name":"Miller, Anne","tags":["new","vip"],"price":12.50,"active":true,"note":null,"address":{"street":"1 High St","zip":"AB1 2CD"}}
SELECT name, total FROM orders WHERE id = 5 AND status = 'open' ORDER BY total DESC LIMIT 10; -- comment
<div class="item" id="x1"><a href="/p/1" title="One">One</a><img src="a.png" alt=""/></div><script>var a = {b: [1, 2]};</script>
function sum(a, b) { return a + b; } // adds two numbers
for f in /var/log/*.log; do cat "$f" | grep -i error > /tmp/out.txt; done
iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==
name=Anne+Miller&city=New%20York&comment=hello%21+world&agree=on&token=a1b2c3d4e5f6
../../etc/hosts and C:\Users\anne\Documents\report-final (2).docx
2026-03-14T09:26:53.589Z
550e8400-e29b-41d4-a716-446655440000
`
