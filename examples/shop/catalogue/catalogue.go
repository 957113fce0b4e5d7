// Package catalogue keeps what the demo shop sells, to whom, and what they say
// of it, in an SQLite database that is made anew at every start.
//
// Search and Login put the user's text into the SQL statement as it is. That is
// the weakness that the shop is there to show. Everything else binds its values.
package catalogue

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

//go:embed schema.sql
var schema string

// Bounds of what is kept and returned.
const (
	maxRows     = 100 // of one search: an injected query may be endless
	maxComments = 50  // of one product; the oldest go first
)

// ErrNotFound says that there is no such product or user.
var ErrNotFound = errors.New("not found")

// Product is one thing for sale. Prices are in cents of a euro.
type Product struct {
	ID          int64  `json:"id"`
	Slug        string `json:"slug"`
	Name        string `json:"name"`
	Tagline     string `json:"tagline"`
	Description string `json:"description"`
	PriceCents  int64  `json:"price_cents"`
	Stock       int64  `json:"stock"`
	Manual      string `json:"manual"`
}

// Hit is one row of a search. All is text, for an injected query may return
// anything in any column.
type Hit struct{ ID, Slug, Name, Tagline, PriceCents string }

// User is one who has signed in.
type User struct {
	ID               int64
	Name, Role, Note string
}

// Comment is what somebody said of a product. Text is kept as it came.
type Comment struct{ Author, Text string }

// Store is the open database. It is safe for concurrent use.
type Store struct{ db *sql.DB }

// Open makes the database in a new file and fills it.
func Open(ctx context.Context, path string) (*Store, error) {
	// hard_heap_limit bounds what an injected query can make SQLite allocate;
	// max_page_count bounds the file (at 4 KiB a page).
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() +
		"?_pragma=busy_timeout(2000)&_pragma=synchronous(off)&_pragma=hard_heap_limit(67108864)&_pragma=max_page_count(4096)"
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("opening the catalogue: %w", err)
	}
	db.SetMaxOpenConns(4)
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(fmt.Errorf("filling the catalogue %s: %w", path, err), db.Close())
	}
	return &Store{db: db}, nil
}

// Close ends all use of the database.
func (s *Store) Close() error { return s.db.Close() }

// Search finds products by a word. VULNERABLE on purpose: q becomes part of the
// statement (CWE-89), and the database's error goes back to the caller.
func (s *Store) Search(ctx context.Context, q string) ([]Hit, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id, slug, name, tagline, price_cents FROM products WHERE name LIKE '%"+q+"%' OR tagline LIKE '%"+q+"%'")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var hits []Hit
	for len(hits) < maxRows && rows.Next() {
		var id, slug, name, tagline, price sql.NullString
		if err := rows.Scan(&id, &slug, &name, &tagline, &price); err != nil {
			return nil, err
		}
		hits = append(hits, Hit{id.String, slug.String, name.String, tagline.String, price.String})
	}
	return hits, rows.Err()
}

// Login finds the user of that name and password. VULNERABLE on purpose: both
// become part of the statement (CWE-89), and the passwords are kept in clear.
func (s *Store) Login(ctx context.Context, name, password string) (User, error) {
	return user(s.db.QueryRowContext(ctx, "SELECT id, name, role, note FROM users WHERE name = '"+name+"' AND password = '"+password+"'"))
}

// User finds a user by id.
func (s *Store) User(ctx context.Context, id int64) (User, error) {
	return user(s.db.QueryRowContext(ctx, "SELECT id, name, role, note FROM users WHERE id = ?", id))
}

func user(row *sql.Row) (User, error) {
	var u User
	err := row.Scan(&u.ID, &u.Name, &u.Role, &u.Note)
	if errors.Is(err, sql.ErrNoRows) {
		return User{}, ErrNotFound
	}
	return u, err
}

const columns = "SELECT id, slug, name, tagline, description, price_cents, stock, manual FROM products"

// Products lists all that is for sale, by id.
func (s *Store) Products(ctx context.Context) ([]Product, error) {
	rows, err := s.db.QueryContext(ctx, columns+" ORDER BY id")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Product
	for rows.Next() {
		p, err := product(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

// Product finds one product by its slug.
func (s *Store) Product(ctx context.Context, slug string) (Product, error) {
	p, err := product(s.db.QueryRowContext(ctx, columns+" WHERE slug = ?", slug))
	if errors.Is(err, sql.ErrNoRows) {
		return Product{}, ErrNotFound
	}
	return p, err
}

func product(row interface{ Scan(...any) error }) (Product, error) {
	var p Product
	err := row.Scan(&p.ID, &p.Slug, &p.Name, &p.Tagline, &p.Description, &p.PriceCents, &p.Stock, &p.Manual)
	return p, err
}

// Comments lists what was said of a product, oldest first.
func (s *Store) Comments(ctx context.Context, slug string) ([]Comment, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT author, text FROM comments WHERE slug = ? ORDER BY id", slug)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Comment
	for rows.Next() {
		var c Comment
		if err := rows.Scan(&c.Author, &c.Text); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, rows.Err()
}

// AddComment keeps a comment as it is; showing it unescaped is the page's doing.
// Beyond maxComments of a product the oldest is forgotten.
func (s *Store) AddComment(ctx context.Context, slug string, c Comment) error {
	if _, err := s.Product(ctx, slug); err != nil {
		return err
	}
	if _, err := s.db.ExecContext(ctx, "INSERT INTO comments (slug, author, text) VALUES (?, ?, ?)", slug, c.Author, c.Text); err != nil {
		return err
	}
	_, err := s.db.ExecContext(ctx, "DELETE FROM comments WHERE slug = ?1 AND id NOT IN (SELECT id FROM comments WHERE slug = ?1 ORDER BY id DESC LIMIT ?2)", slug, maxComments)
	return err
}
