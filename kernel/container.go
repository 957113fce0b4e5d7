package kernel

import (
	"slices"

	"github.com/testudo-sec/testudo/signal"
)

// maxLabels bounds the labels of a container that events carry.
const maxLabels = 64

// Describe sets the fields of an event that say what container it is of. Rules about workloads read them, live and where
// clauses for the kernel are made of them.
func (c *Container) Describe(e *signal.Event) { c.describe(e, c.LabelTexts()) }

func (c *Container) describe(e *signal.Event, labels []string) {
	set := func(f signal.Field, v string) {
		if v != "" {
			e.SetString(f, v)
		}
	}
	set(signal.FieldContainerUID, c.ID)
	set(signal.FieldContainerName, c.Name)
	set(signal.FieldContainerRuntime, c.Runtime)
	set(signal.FieldContainerImageName, c.Image)
	set(signal.FieldContainerImageTag, c.Tag)
	set(signal.FieldContainerImageUID, c.Digest)
	set(signal.FieldContainerPodUUID, c.PodUID)
	set(signal.FieldOrchestratorPodName, c.Pod)
	set(signal.FieldOrchestratorNamespace, c.Namespace)
	e.SetStrings(signal.FieldContainerLabels, labels)
}

// LabelTexts returns the labels as "name=value", sorted, at most 64.
func (c *Container) LabelTexts() []string {
	all := make([]string, 0, len(c.Labels))
	for name, value := range c.Labels {
		all = append(all, name+"="+value)
	}
	slices.Sort(all)
	return all[:min(len(all), maxLabels)]
}
