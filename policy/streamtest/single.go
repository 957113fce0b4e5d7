package streamtest

import (
	"net/netip"

	"github.com/testudo-sec/testudo/signal"
)

// Request returns a request as a browser sends it, with what the edge says about it before it is judged.
func Request() *signal.Event {
	e := &signal.Event{Class: signal.ClassHTTPActivity, Activity: 3, Plane: signal.PlaneEdge, Time: 1767225600e9}
	e.SetString(signal.FieldHTTPRequestHTTPMethod, "GET")
	e.SetString(signal.FieldHTTPRequestURLPath, "/shop/Items/42%20b")
	e.SetMasked(signal.FieldHTTPRequestURLQueryString, "q=red+shoes&page=2", "q=*&page=*")
	e.SetString(signal.FieldHTTPRequestUserAgent, "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	e.SetString(signal.FieldHTTPRequestReferrer, "https://shop.example/")
	e.SetStrings(signal.FieldHTTPRequestHeaderNames, []string{"accept", "accept-encoding", "host", "user-agent"})
	e.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr("203.0.113.9"))
	e.SetString(signal.FieldEdgeRoute, "shop")
	e.SetString(signal.FieldEdgeMode, "block")
	e.SetInt(signal.FieldWAFScore, 0)
	e.SetInt(signal.FieldWAFThreshold, 5)
	return e
}

// FileOpen returns the opening of a library by a program in a container, as a sensor sees hundreds of a second: no rule cares for it.
func FileOpen() *signal.Event {
	e := &signal.Event{Class: signal.ClassFileActivity, Activity: 14, Plane: signal.PlaneKernel, Time: 1767225600e9}
	e.SetString(signal.FieldFilePath, "/usr/lib/x86_64-linux-gnu/libssl.so.3")
	e.SetString(signal.FieldFileName, "libssl.so.3")
	e.SetStrings(signal.FieldOpenFlags, []string{"O_RDONLY", "O_CLOEXEC"})
	e.SetInt(signal.FieldStatusID, 1)
	e.SetString(signal.FieldActorProcessName, "node")
	e.SetString(signal.FieldActorProcessFilePath, "/usr/local/bin/node")
	e.SetString(signal.FieldActorProcessCmdLine, "node /app/server.js --port 8080")
	e.SetInt(signal.FieldActorProcessPID, 4711)
	e.SetString(signal.FieldActorUserName, "app")
	e.SetString(signal.FieldContainerUID, "3f4e8c1b2a90")
	e.SetString(signal.FieldContainerName, "shop-web")
	e.SetString(signal.FieldContainerImageName, "registry.example/shop/web")
	e.SetString(signal.FieldOrchestratorNamespace, "prod")
	e.SetString(signal.FieldOrchestratorPodName, "shop-web-5d8f")
	return e
}
