package personal_test

import (
	"fmt"

	"github.com/testudo-sec/testudo/detect/personal"
)

func ExampleDetector_Stream() {
	d, err := personal.New(personal.Default())
	if err != nil {
		panic(err)
	}
	seen := map[string]int{}
	s := d.Stream(func(m personal.Match) bool {
		seen[m.Kind.ID]++
		return m.Kind.Group != personal.Trace
	})
	for _, piece := range []string{`{"card":"4111 11`, `11 1111 1111","iban":"DE89 3704 0044 `, `0532 0130 00"}` + "\n"} {
		fmt.Printf("%q\n", s.Write([]byte(piece)))
	}
	fmt.Printf("%q %v\n", s.Close(), seen)
	// Output:
	// "{\"card\":\""
	// "**** **** **** 1111\",\"iban\":\""
	// "**** **** **** **** **** **\"}\n"
	// "" map[card:1 iban:1]
}
