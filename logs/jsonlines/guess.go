package jsonlines

import (
	"strings"

	"github.com/testudo-sec/testudo/logs"
)

// mark is an attribute by which a log is known.
type mark uint32

const (
	markClass mark = 1 << iota
	markHost
	markCategory
	markPath
	markEventType
	markOutcome
	markPublished
	markOperationName
	markResourceID
	markTenantID
	markRisk
	markMethodName
	markWorkload
	markOperation
	markUserID
	markAction
	markActor
	markOrg
	markDocument
	markAuditAction
	markAuditCategory
	markOrigin
	markResponder
	markQuery
	markMethod
	markLogType
	markNode
)

var marks = map[string]mark{
	"class_uid": markClass,
	"host":      markHost, "hostname": markHost, "host.name": markHost, "Computer": markHost,
	"category": markCategory, "Category": markCategory, "_path": markPath,
	"eventType": markEventType, "outcome.result": markOutcome, "published": markPublished,
	"operationName": markOperationName, "OperationName": markOperationName, "resourceId": markResourceID, "ResourceId": markResourceID,
	"tenantId": markTenantID, "TenantId": markTenantID, "riskEventType": markRisk,
	"protoPayload.methodName": markMethodName, "data.protoPayload.methodName": markMethodName,
	"Workload": markWorkload, "Operation": markOperation, "UserId": markUserID,
	"action": markAction, "actor": markActor, "org": markOrg, "_document_id": markDocument,
	"auditType.action": markAuditAction, "auditType.category": markAuditCategory,
	"id.orig_h": markOrigin, "id.resp_h": markResponder, "qtype_name": markQuery, "method": markMethod,
	"logtype": markLogType, "node_id": markNode,
}

// guess returns the source of a record by the attributes that it has; category and path are the values of two of them.
func guess(seen mark, category, path string) logs.Source {
	has := func(m mark) bool { return seen&m == m }
	switch {
	case has(markMethodName):
		return logs.Source{Product: "gcp", Service: "gcp.audit"}
	case has(markEventType | markOutcome | markPublished):
		return logs.Source{Product: "okta", Service: "okta"}
	case has(markWorkload | markOperation | markUserID):
		return logs.Source{Product: "m365", Service: "audit"}
	case has(markAuditAction | markAuditCategory):
		return logs.Source{Product: "bitbucket", Service: "audit"}
	case has(markAction|markActor) && (has(markOrg) || has(markDocument)):
		return logs.Source{Product: "github", Service: "audit"}
	case has(markOrigin | markResponder):
		switch {
		case path != "":
			return logs.Source{Product: "zeek", Service: path}
		case has(markQuery):
			return logs.Source{Product: "zeek", Service: "dns"}
		case has(markMethod):
			return logs.Source{Product: "zeek", Service: "http"}
		}
		return logs.Source{Product: "zeek"}
	case has(markLogType | markNode):
		return logs.Source{Product: "opencanary", Category: "application"}
	case has(markOperationName) && (has(markResourceID) || has(markTenantID)), has(markRisk | markTenantID):
		return logs.Source{Product: "azure", Service: azure(seen, category)}
	}
	return logs.Source{}
}

// azure returns the service by the category that diagnostic settings write.
func azure(seen mark, category string) string {
	switch {
	case seen&markRisk != 0:
		return "riskdetection"
	case strings.HasSuffix(category, "SignInLogs"):
		return "signinlogs"
	case category == "AuditLogs":
		return "auditlogs"
	}
	return "activitylogs"
}
