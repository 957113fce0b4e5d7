package respond

// Take asks the budget as a rule's order against that network does.
func (h *Host) Take(group string) error { return h.budget.take(h.opts.Now(), "rule:edge.waf", group) }
