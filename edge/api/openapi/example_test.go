package openapi_test

import (
	"fmt"
	"net/http"

	"github.com/testudo-sec/testudo/edge/api/openapi"
)

func Example() {
	doc, err := openapi.Load("shop.yaml", []byte(`
openapi: 3.1.0
info: {title: Shop, version: "1"}
servers: [{url: https://shop.example/v1}]
paths:
  /carts/{cart}:
    put:
      parameters: [{name: cart, in: path, required: true, schema: {type: string, format: uuid}}]
      requestBody:
        content:
          application/json:
            schema: {type: object, additionalProperties: false, properties: {quantity: {type: integer, maximum: 99}}}
      responses: {"204": {description: changed}}
`), nil)
	if err != nil {
		panic(err)
	}
	op, params, found := doc.Find("PUT", "/v1/carts/7")
	if op == nil {
		fmt.Println(found.Violations)
		return
	}
	request := &openapi.Request{Params: params, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"quantity":100,"price":1}`)}
	for _, v := range op.CheckRequest(request) {
		fmt.Println(v)
	}
	_, _, found = doc.Find("PUT", "/v1/carts/..%2fadmin")
	fmt.Println(found.Violations[0])
	// Output:
	// path cart: format: must have the format uuid
	// body /price: additionalProperties: is not among the fields that the schema names
	// body /quantity: maximum: must be at most 99
	// path: ambiguous: the path has an encoded slash
}
