package edge

import "github.com/testudo-sec/testudo/internal/upstream"

// route is a Route made ready.
type route struct {
	cfg    *Route
	name   string
	prefix string // path without a slash at its end
	mode   string
	block  bool // obey verdicts
	closed bool // refuse what could not be judged
	waf    bool
	api    bool // a guard looks at it
	mask   masker
	pool   *upstream.Pool
	count  *routeMetrics
}
