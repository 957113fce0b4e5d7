package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"

	"github.com/testudo-sec/testudo/examples/shop/catalogue"
)

func (s *Shop) apiProducts(w http.ResponseWriter, r *http.Request) {
	products, err := s.Store.Products(r.Context())
	if err != nil {
		s.apiError(w, http.StatusInternalServerError, err)
		return
	}
	s.json(w, http.StatusOK, map[string]any{"products": products})
}

func (s *Shop) apiProduct(w http.ResponseWriter, r *http.Request) {
	p, err := s.Store.Product(r.Context(), r.PathValue("slug"))
	switch {
	case errors.Is(err, catalogue.ErrNotFound):
		s.apiError(w, http.StatusNotFound, fmt.Errorf("no product %q", r.PathValue("slug")))
	case err != nil:
		s.apiError(w, http.StatusInternalServerError, err)
	default:
		s.json(w, http.StatusOK, p)
	}
}

func (s *Shop) apiCart(w http.ResponseWriter, r *http.Request) {
	var content map[string]int
	if ses := s.sessions.of(r); ses != nil {
		content = ses.cart
	}
	s.sendCart(w, r, content)
}

// apiAddToCart adds {"product":"tent","quantity":1} to the session's cart and
// answers with the whole cart.
func (s *Shop) apiAddToCart(w http.ResponseWriter, r *http.Request) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		s.apiError(w, http.StatusUnsupportedMediaType, errors.New("send application/json"))
		return
	}
	var in struct {
		Product  string `json:"product"`
		Quantity int    `json:"quantity"`
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		status := http.StatusBadRequest
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			status = http.StatusRequestEntityTooLarge
		}
		s.apiError(w, status, err)
		return
	}
	if in.Quantity < 1 || in.Quantity > maxPerLine {
		s.apiError(w, http.StatusUnprocessableEntity, fmt.Errorf("quantity is from 1 to %d", maxPerLine))
		return
	}
	if _, err := s.Store.Product(r.Context(), in.Product); errors.Is(err, catalogue.ErrNotFound) {
		s.apiError(w, http.StatusUnprocessableEntity, fmt.Errorf("no product %q", in.Product))
		return
	} else if err != nil {
		s.apiError(w, http.StatusInternalServerError, err)
		return
	}
	ses := s.sessions.change(w, r, false, func(ses *session) {
		ses.cart[in.Product] = min(ses.cart[in.Product]+in.Quantity, maxPerLine)
	})
	s.sendCart(w, r, ses.cart)
}

func (s *Shop) sendCart(w http.ResponseWriter, r *http.Request, content map[string]int) {
	c, err := s.filled(r.Context(), content)
	if err != nil {
		s.apiError(w, http.StatusInternalServerError, err)
		return
	}
	s.json(w, http.StatusOK, c)
}

func (s *Shop) apiError(w http.ResponseWriter, status int, err error) {
	s.json(w, status, map[string]string{"error": err.Error()})
}

func (s *Shop) json(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.Log.Debug("answer broken off", "error", err)
	}
}
