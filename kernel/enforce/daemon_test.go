//go:build linux

package enforce

func daemon() {}
func act()    {}
