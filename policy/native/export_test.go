package native

// CELParts returns how many parts of a condition run on CEL's evaluator.
func CELParts(c *Condition) int { return c.celOnly }
