// Package inventory says which packages a target holds: it asks osv-scalibr's extractors, each by its name, and adds what a
// finding needs: the line, whether the project names a package itself and what brings it, licences, the release of a distribution.
//
// Two things are read by parsers of our own, because scalibr's look every package up from the start of the file, which takes hours for a
// file made to be slow: package-lock.json and composer.lock.
//
// What it promises: a file is judged by its own content and by few files beside it, in the same tree, which a path never leaves;
// nothing is executed and nothing asked over the network; what a third-party parser does wrong, a panic included, is an error of that
// file; files have a size limit by kind and a time limit. Each promise of package scan about names holds: they are bounded, and
// dropped, with an error, where they hold control characters.
package inventory
