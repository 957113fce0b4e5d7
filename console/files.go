package console

import (
	"context"
	"net/http"
	"time"
)

// FileSource says which watched files are not what they were, and takes orders about the baseline. It writes to the ledger by itself, with
// by.Actor().
type FileSource interface {
	// Files says what is watched and what differs: as last seen, or with now after a look at all files, which takes seconds.
	Files(ctx context.Context, now bool) (FileReport, error)
	// TakeFiles takes what is there as the baseline, and signs it.
	TakeFiles(ctx context.Context, by Identity) (FileReport, error)
	// AcceptFiles takes differences into the baseline, and returns which.
	AcceptFiles(ctx context.Context, o FileOrder, by Identity) ([]FileChange, error)
}

// MaxFileChanges bounds the lists of a FileReport.
const MaxFileChanges = 1000

// FileReport says what is watched and what differs. Paths are of strangers' making; they have %XX for bytes that are no printable character.
type FileReport struct {
	Problem       string         `json:"problem,omitempty"`  // why nothing is compared
	Baseline      string         `json:"baseline,omitempty"` // SHA-256 of its file, as in the ledger
	Taken         time.Time      `json:"taken,omitzero"`
	Roots         []string       `json:"roots"`
	Files         int            `json:"files"`  // of the baseline
	Hashed        int            `json:"hashed"` // with a digest
	Full          bool           `json:"full"`   // there are more than are watched
	Scanned       time.Time      `json:"scanned,omitzero"`
	TookMS        int64          `json:"took_ms"`
	Pending       int            `json:"pending"` // files that wait to be looked at
	Dropped       uint64         `json:"dropped"`
	Differ        int            `json:"differ"`  // how many differ from the baseline
	Changes       []FileChange   `json:"changes"` // the first MaxFileChanges of them
	Altered       int            `json:"altered"` // how many are not what their package says
	NotAsPackaged []PackagedFile `json:"not_as_packaged,omitempty"`
}

// FileChange is how a file differs from the baseline.
type FileChange struct {
	Path    string     `json:"path"`
	What    []string   `json:"what"`             // created, removed, type, content, mode, owner, target
	Before  *FileState `json:"before,omitempty"` // nil: it did not exist
	After   *FileState `json:"after,omitempty"`  // nil: it exists no more
	Package string     `json:"package,omitempty"`
	Altered bool       `json:"altered,omitempty"` // the package's database says another digest
}

// FileState is what a file was or is.
type FileState struct {
	Mode     string    `json:"mode"`  // octal, type and permissions: 100644
	Owner    string    `json:"owner"` // user:group as numbers
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	SHA256   string    `json:"sha256,omitempty"`
	Target   string    `json:"target,omitempty"` // of a symbolic link
	Unread   string    `json:"unread,omitempty"` // why there is no digest
}

// PackagedFile is a file that is not what its package says.
type PackagedFile struct {
	Path    string `json:"path"`
	Package string `json:"package"`
	SHA256  string `json:"sha256"`
}

// FileOrder says which differences are accepted.
type FileOrder struct {
	Paths    []string `json:"paths,omitempty" doc:"files as they are listed, and folders with what is below them"`
	Packaged bool     `json:"packaged,omitempty" doc:"all that are what their package's database says"`
}

type filesIn struct {
	Now bool `query:"now" doc:"look at all files first, which takes seconds"`
}

type acceptFilesIn struct {
	Body FileOrder `body:"json"`
}

// AcceptedFiles is what was accepted.
type AcceptedFiles struct {
	Accepted []FileChange `json:"accepted"`
}

func (s *Server) fileRoutes() []Route {
	return []Route{
		call(get, v1+"/fim", RoleViewer, says{id: "getFiles", summary: "Watched files that are not what they were", tag: "files"},
			func(r *http.Request, _ http.ResponseWriter, in filesIn) (FileReport, error) {
				if s.sources.Files == nil {
					return FileReport{}, unavailable("files")
				}
				return s.sources.Files.Files(r.Context(), in.Now)
			}),
		call(post, v1+"/fim/baseline", RoleAdmin, says{id: "takeFiles", summary: "Take what is there now as the signed baseline", tag: "files"},
			func(r *http.Request, _ http.ResponseWriter, _ struct{}) (FileReport, error) {
				return s.desk.TakeFiles(r.Context())
			}),
		call(post, v1+"/fim/accept", RoleAdmin, says{id: "acceptFiles", summary: "Take differences into the signed baseline", tag: "files"},
			func(r *http.Request, _ http.ResponseWriter, in acceptFilesIn) (AcceptedFiles, error) {
				taken, err := s.desk.AcceptFiles(r.Context(), in.Body)
				return AcceptedFiles{Accepted: taken}, err
			}),
	}
}

// maxAccepted bounds the paths of one order.
const maxAccepted = 1000

// TakeFiles takes what is there now as the baseline of files. Admins may.
func (d *Desk) TakeFiles(ctx context.Context) (FileReport, error) {
	c, err := d.caller(ctx, RoleAdmin)
	if err != nil {
		return FileReport{}, err
	}
	if d.sources.Files == nil {
		return FileReport{}, unavailable("files")
	}
	return d.sources.Files.TakeFiles(ctx, c.Identity)
}

// AcceptFiles takes differences into the baseline of files. Admins may.
func (d *Desk) AcceptFiles(ctx context.Context, o FileOrder) ([]FileChange, error) {
	c, err := d.caller(ctx, RoleAdmin)
	if err != nil {
		return nil, err
	}
	if d.sources.Files == nil {
		return nil, unavailable("files")
	}
	if len(o.Paths) > maxAccepted {
		return nil, &InputError{Field: "paths", Reason: "at most 1000 at once: name a folder"}
	}
	return d.sources.Files.AcceptFiles(ctx, o, c.Identity)
}
