package web

import (
	"context"
	"errors"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"

	"github.com/testudo-sec/testudo/examples/shop/catalogue"
	"github.com/testudo-sec/testudo/examples/shop/shell"
)

func (s *Shop) home(w http.ResponseWriter, r *http.Request) {
	products, err := s.Store.Products(r.Context())
	if err != nil {
		s.broken(w, r, err)
		return
	}
	s.show(w, r, http.StatusOK, "home", "Outdoor supplies", products)
}

// search is VULNERABLE: see catalogue.Store.Search.
func (s *Shop) search(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), queryTime)
	defer cancel()
	hits, err := s.Store.Search(ctx, param(r, "q"))
	if err != nil {
		s.broken(w, r, err)
		return
	}
	// An injected row may hold anything where the price should be.
	for i, h := range hits {
		if cents, err := strconv.ParseInt(h.PriceCents, 10, 64); err == nil {
			hits[i].PriceCents = euro(cents)
		}
	}
	s.show(w, r, http.StatusOK, "search", "Search", hits)
}

// remark is a comment as the page shows it. VULNERABLE: the text is put into the
// page as HTML (CWE-79).
type remark struct {
	Author string
	Text   template.HTML
}

func (s *Shop) product(w http.ResponseWriter, r *http.Request) {
	p, err := s.Store.Product(r.Context(), r.PathValue("slug"))
	if err != nil {
		s.broken(w, r, err)
		return
	}
	comments, err := s.Store.Comments(r.Context(), p.Slug)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	data := struct {
		catalogue.Product
		Remarks []remark
	}{Product: p}
	for _, c := range comments {
		data.Remarks = append(data.Remarks, remark{c.Author, template.HTML(c.Text)})
	}
	s.show(w, r, http.StatusOK, "product", p.Name, data)
}

func (s *Shop) comment(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) {
		return
	}
	slug := r.PostForm.Get("product")
	c := catalogue.Comment{Author: strings.TrimSpace(r.PostForm.Get("author")), Text: r.PostForm.Get("text")}
	if c.Author == "" {
		c.Author = "somebody"
	}
	if c.Text == "" || len(c.Text) > 4096 || len(c.Author) > 80 {
		s.message(w, r, http.StatusBadRequest, "Cannot keep the comment", "A comment has 1 to 4096 bytes, its author at most 80.")
		return
	}
	if err := s.Store.AddComment(r.Context(), slug, c); err != nil {
		s.broken(w, r, err)
		return
	}
	http.Redirect(w, r, "/products/"+url.PathEscape(slug)+"#comments", http.StatusSeeOther)
}

const maxDownload = 8 << 20 // bytes

// download is VULNERABLE: the name is joined to the folder as it is, so that ../
// leads out of it (CWE-22). Only regular files are read, and not without end.
func (s *Shop) download(w http.ResponseWriter, r *http.Request) {
	name := param(r, "file")
	// Not blocking: opening a named pipe would wait for its writer for ever.
	f, err := os.OpenFile(s.Manuals+"/"+name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		s.message(w, r, http.StatusNotFound, "No such manual", err.Error())
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		s.message(w, r, http.StatusNotFound, "No such manual", name+" is not a file.")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Disposition", "attachment; filename*=UTF-8''"+url.PathEscape(path.Base(name)))
	if _, err := io.Copy(w, io.LimitReader(f, maxDownload)); err != nil {
		s.Log.Debug("download broken off", "file", name, "error", err)
	}
}

type pinged struct {
	Host, Command, Output, Note string
	Ran                         bool
}

func (s *Shop) diag(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "diag", "Is the warehouse there?", pinged{Host: "127.0.0.1"})
}

// ping is VULNERABLE: the host becomes part of a shell's command line (CWE-78).
// The shell is real; package shell bounds it.
func (s *Shop) ping(w http.ResponseWriter, r *http.Request) {
	host := param(r, "host")
	if host == "" {
		s.diag(w, r)
		return
	}
	line := "ping -c 1 -W 2 " + host
	s.Log.Info("starting a shell", "command", line)
	res, err := s.Shell.Run(r.Context(), line)
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, shell.ErrBusy) {
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", "5")
		}
		s.message(w, r, status, "No diagnosis", err.Error())
		return
	}
	p := pinged{Host: host, Command: line, Output: string(res.Output), Ran: true}
	switch {
	case res.TimedOut:
		p.Note = "ended by the shop after " + shell.MaxTime.String()
	case res.Truncated:
		p.Note = "ended by the shop after 64 KiB of output"
	case res.ExitCode == 127:
		p.Note = "exit code 127: a program is missing on this machine (Debian: apt install iputils-ping)"
	default:
		p.Note = "exit code " + strconv.Itoa(res.ExitCode)
	}
	if !wantsHTML(r) {
		text(w, http.StatusOK, p.Output+"["+p.Note+"]\n")
		return
	}
	s.show(w, r, http.StatusOK, "diag", "Is the warehouse there?", p)
}

func (s *Shop) chatPage(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "chat", "Chat", nil)
}
