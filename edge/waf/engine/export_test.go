package engine

// Forget has an engine remember no texts.
func (e *Engine) Forget() { e.known = nil }

// Known returns the texts that an engine remembers.
func (e *Engine) Known() (texts []string) {
	for i := range e.known.places {
		if t := e.known.places[i].Load(); t != nil {
			texts = append(texts, t.text)
			for _, f := range t.forms {
				texts = append(texts, f.text)
			}
		}
	}
	return texts
}
