package main

const (
	sysMemfd          = 319
	sysFinitModule    = 313
	sysBPF            = 321
	sysSetns          = 308
	sysProcessVMWrite = 311
	sysUserfaultfd    = 323
)
