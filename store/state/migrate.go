package state

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// versionTable has a name of its own since a PostgreSQL database may be shared.
const versionTable = "testudo_state_version"

// migrate brings the schema up to date. Each migration is a transaction: a stop in the midst of
// it leaves the schema before or after it, and the next start goes on from there.
func (db *DB) migrate(ctx context.Context) error {
	p, err := db.provider()
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return db.wrap("read the schema's version", err)
	}
	if current > target {
		return fmt.Errorf("%w: %s has schema %d, this one knows up to %d: run the newer testudo, or restore a backup made before it",
			ErrNewer, db.where, current, target)
	}
	if current < target {
		if _, err = p.Up(ctx); err != nil && db.dialect.name == "sqlite" {
			// Another process may have migrated the same new file at the same moment.
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
			}
			_, err = p.Up(ctx)
		}
		if err != nil {
			var partial *goose.PartialError
			if errors.As(err, &partial) && partial.Failed != nil {
				return db.wrap(fmt.Sprintf("migrate to schema %d", partial.Failed.Source.Version), partial.Err)
			}
			return db.wrap("migrate", err)
		}
		db.log.Info("state schema is up to date", "state", db.where, "from", current, "to", target)
	}
	db.schema = target
	return nil
}

func (db *DB) provider() (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations/"+db.dialect.name)
	if err != nil {
		return nil, err
	}
	options := []goose.ProviderOption{
		goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true), goose.WithTableName(versionTable),
	}
	kind := goose.DialectSQLite3
	if db.dialect.name == "postgres" {
		kind = goose.DialectPostgres
		// Several nodes may start at once.
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 30))
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	return goose.NewProvider(kind, db.write, dir, options...)
}
