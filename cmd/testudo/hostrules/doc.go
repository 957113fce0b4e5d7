// Package hostrules works out what a set of rules means for the kernel plane: what its sensor must see ([Interest]), what the
// kernel can refuse by itself ([Compile]), and which parts of which rules wait for a slower gate ([Residue]). Both are
// derived from the conditions alone, so that rules say nothing of hooks and filters.
package hostrules
