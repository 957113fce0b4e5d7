package vuln

import (
	"encoding/json"
	"fmt"
	"time"
)

// csaf is the part of a CSAF 2.0 document that says which product has which flaw
// (https://docs.oasis-open.org/csaf/csaf/v2.0/os/csaf-v2.0-os.html).
type csaf struct {
	Document struct {
		Tracking struct {
			Current time.Time `json:"current_release_date"`
		} `json:"tracking"`
	} `json:"document"`
	Tree struct {
		Branches      []csafBranch  `json:"branches"`
		Names         []csafProduct `json:"full_product_names"`
		Relationships []struct {
			// Reference is the component, part of RelatesTo; Product is the pair of them.
			Reference string      `json:"product_reference"`
			RelatesTo string      `json:"relates_to_product_reference"`
			Product   csafProduct `json:"full_product_name"`
		} `json:"relationships"`
	} `json:"product_tree"`
	Vulnerabilities []struct {
		CVE string `json:"cve"`
		IDs []struct {
			Text string `json:"text"`
		} `json:"ids"`
		Status map[string][]string `json:"product_status"`
		Flags  []struct {
			Label    string   `json:"label"`
			Products []string `json:"product_ids"`
		} `json:"flags"`
		Threats []struct {
			Category string   `json:"category"`
			Details  string   `json:"details"`
			Products []string `json:"product_ids"`
		} `json:"threats"`
	} `json:"vulnerabilities"`
}

type csafBranch struct {
	Branches []csafBranch `json:"branches"`
	Product  *csafProduct `json:"product"`
}

type csafProduct struct {
	ID     string `json:"product_id"`
	Helper struct {
		PURL string `json:"purl"`
	} `json:"product_identification_helper"`
}

// csafStatus maps the groups of product_status.
var csafStatus = map[string]Status{
	"known_not_affected": NotAffected, "fixed": FixedStatus, "first_fixed": FixedStatus, "recommended": FixedStatus,
	"known_affected": Affected, "first_affected": Affected, "last_affected": Affected, "under_investigation": UnderInvestigation,
}

// maxBranches bounds the depth of a product tree.
const maxBranches = 100

func readCSAF(data []byte) ([]Statement, error) {
	var doc csaf
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("CSAF: %w", err)
	}
	purls := map[string]string{}
	note := func(p *csafProduct) {
		if p.Helper.PURL != "" {
			purls[p.ID] = p.Helper.PURL
		}
	}
	if err := walkBranches(doc.Tree.Branches, 0, note); err != nil {
		return nil, err
	}
	for i := range doc.Tree.Names {
		note(&doc.Tree.Names[i])
	}
	for i := range doc.Tree.Relationships {
		r := &doc.Tree.Relationships[i]
		// A component in a product is the component: its package URL is the one that an inventory holds.
		if purl := purls[r.Reference]; purl != "" {
			purls[r.Product.ID] = purl
		}
		note(&r.Product)
	}
	var out []Statement
	for i := range doc.Vulnerabilities {
		v := &doc.Vulnerabilities[i]
		base := Statement{Vulnerability: v.CVE, Time: doc.Document.Tracking.Current}
		if v.CVE != "" {
			base.Names = append(base.Names, v.CVE)
		}
		for _, id := range v.IDs {
			base.Names = append(base.Names, id.Text)
		}
		reasons := map[string]string{}
		for _, f := range v.Flags {
			for _, id := range f.Products {
				reasons[id] = f.Label
			}
		}
		for _, t := range v.Threats {
			for _, id := range t.Products {
				if t.Category == "impact" && reasons[id] == "" {
					reasons[id] = t.Details
				}
			}
		}
		for group, ids := range v.Status {
			status, known := csafStatus[group]
			if !known {
				continue
			}
			for _, id := range ids {
				if purl := purls[id]; purl != "" {
					s := base
					s.PURL, s.Status, s.Why = purl, status, reasons[id]
					out = append(out, s)
				}
			}
		}
	}
	return out, nil
}

func walkBranches(branches []csafBranch, depth int, note func(*csafProduct)) error {
	if depth > maxBranches {
		return fmt.Errorf("CSAF: the product tree is deeper than %d", maxBranches)
	}
	for i := range branches {
		if p := branches[i].Product; p != nil {
			note(p)
		}
		if err := walkBranches(branches[i].Branches, depth+1, note); err != nil {
			return err
		}
	}
	return nil
}
