package assembly

import (
	"fmt"
	"strings"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/edge/api"
)

// apiChecks says how APIs are guarded, and what of that does not work.
func apiChecks(s api.Status) []console.Check {
	var documents, masked, without []string
	var checks []console.Check
	lacks := func(name, detail, cost, command string) {
		checks = append(checks, console.Check{Name: name, Detail: detail, Cost: cost, Command: command})
	}
	for _, r := range s.Routes {
		switch {
		case r.Document != "":
			documents = append(documents, fmt.Sprintf("%s by %s (%d operations)", r.Name, r.Document, r.Operations))
		case r.Inventory:
			without = append(without, r.Name)
		}
		if r.Masked {
			masked = append(masked, r.Name)
		}
		if n := len(r.Warnings); n > 0 {
			lacks("api document", fmt.Sprintf("%d parts of %s are not enforced: %s", n, r.Document, some(r.Warnings)), "requests of route "+r.Name+" are not held to them", "write that otherwise in the document: docs/api-protection.md says what is enforced")
		}
		if r.Keys != nil {
			lacks("api keys", "keys of tokens of route "+r.Name+" cannot be read: "+strings.ReplaceAll(r.Keys.Error(), "\n", "; "), "tokens cannot be checked once the keys of before are too old; then the route's fail decides", "see that the address answers: curl -v, or mend api.routes of "+r.Name+": tokens.verify.issuers")
		}
		if r.Descriptors {
			lacks("api descriptors", "the gRPC server of route "+r.Name+" has not told its descriptors", "gRPC calls are not checked", "see that it serves reflection, or name a file: grpc.descriptors")
		}
	}
	if s.Unsaved != "" {
		lacks("api inventory", "what was learned could not be saved: "+s.Unsaved, "it is learned anew after a restart", "see that the data directory can be written")
	}
	if s.Most > 0 && s.Endpoints >= s.Most {
		lacks("api inventory", fmt.Sprintf("full with %d endpoints; %d times there was no room", s.Endpoints, s.Full), "new endpoints are not learned", "raise api.inventory.endpoints, or look with testudo apis whether the server answers to any path")
	}
	if h := s.Habits; h.Most > 0 && h.Parameters >= h.Most*7/8 {
		lacks("api habits", fmt.Sprintf("%d parameters of at most %d are known", h.Parameters, h.Most), "new ones are learned only when others make room", "raise api.habits.parameters")
	} else if h.Crammed > 0 {
		lacks("api habits", fmt.Sprintf("%d endpoints have more parameters than are kept of one", h.Crammed), "it is not told there that a parameter is one that others do not send", "raise api.habits.each")
	}
	detail := fmt.Sprintf("%d endpoints learned", s.Endpoints)
	if s.Habits.Parameters > 0 {
		detail += fmt.Sprintf(", %d parameters", s.Habits.Parameters)
	}
	for _, part := range []struct {
		what string
		of   []string
	}{{"guarded: ", documents}, {"no document, learned only: ", without}, {"data masked in answers of: ", masked}} {
		if len(part.of) > 0 {
			detail += "; " + part.what + some(part.of)
		}
	}
	return append([]console.Check{ok("apis", detail)}, checks...)
}

// some joins the first few.
func some(all []string) string {
	const few = 3
	if len(all) > few {
		return strings.Join(all[:few], ", ") + fmt.Sprintf(" and %d more", len(all)-few)
	}
	return strings.Join(all, ", ")
}
