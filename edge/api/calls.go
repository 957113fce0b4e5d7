package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/edge/api/grpc"
	"github.com/testudo-sec/testudo/edge/api/grpc/reflection"
)

// calls is what is known of the gRPC services behind a route.
type calls struct {
	from  reflection.Target // who is asked; "" where a file says it
	known atomic.Pointer[grpc.Descriptors]
}

// Times of asking a server for its descriptors.
const (
	askWithin  = 30 * time.Second
	askFirst   = time.Second      // between two questions while it has not answered; doubled each time
	askAtMost  = time.Minute      // that long
	askUpdates = 10 * time.Minute // afterwards: it may be another version by then
)

var errNoDescriptors = errors.New("the gRPC server has not said yet what it serves")

func (c *calls) load(text []byte) error {
	d, err := grpc.Load(text)
	if err == nil {
		c.known.Store(d)
	}
	return err
}

// follow asks the server until ctx ends. What it said last stays while it does not answer.
func (c *calls) follow(ctx context.Context, log *slog.Logger) {
	wait, told := askFirst, ""
	for {
		within, cancel := context.WithTimeout(ctx, askWithin)
		text, err := reflection.Fetch(within, c.from, nil)
		cancel()
		if err == nil {
			err = c.load(text)
		}
		next := askUpdates
		if err != nil && ctx.Err() == nil {
			if told != err.Error() {
				log.Warn("descriptors of gRPC are not read: calls cannot be checked until they are, or are held to the last ones", "error", err)
				told = err.Error()
			}
			next, wait = wait, min(wait*2, askAtMost)
		} else {
			wait, told = askFirst, ""
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
	}
}

// findMethod says which method a call is for. What comes to a method's address in another form than gRPC's is held to it too: there are servers that take it.
func (c *check) findMethod() {
	isCall := strings.HasPrefix(c.media, "application/grpc")
	if c.calls = c.r.grpc.known.Load(); c.calls == nil {
		switch {
		case !isCall:
		case c.r.cfg.GRPC.Mode == Block:
			c.found.Err = errNoDescriptors // the route's fail mode decides
		default:
			c.tell(Report, "grpc", grpc.CodeNotChecked, "", errNoDescriptors.Error())
		}
		return
	}
	if !isCall && c.x.Request.Method != http.MethodPost {
		return
	}
	method, v := c.calls.Find(c.x.Path)
	if v != nil && isCall {
		c.tell(c.r.cfg.GRPC.Mode, "grpc", v.Code, v.Where, v.Message)
	}
	c.method = method
}
