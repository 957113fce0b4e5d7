module example.com/shop

go 1.22.1

require (
	golang.org/x/net v0.17.0
	golang.org/x/text v0.13.0 // indirect
)
