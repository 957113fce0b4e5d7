package hand

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// actor is a program of a test. It waits for a line before it acts, and says "ok".
func actor(role string, args []string) {
	in := bufio.NewReader(os.Stdin)
	_, _ = in.ReadString('\n')
	switch role {
	case "as-sleeper":
		fmt.Println("ok")
	case "as-counter": // writes to a file for as long as it runs
		f, _ := os.Create(args[0])
		_, _ = f.WriteString("x")
		fmt.Println("ok")
		for {
			_, _ = f.WriteString("x")
			time.Sleep(time.Millisecond)
		}
	case "as-family": // so many children, each of which has as many less one
		n, _ := strconv.Atoi(args[0])
		for range n {
			child("as-family", itoa(n-1))
		}
		fmt.Println("ok")
	case "as-forker": // starts others as fast as it can; they say so in a file
		fmt.Println("ok")
		for {
			cmd := exec.Command("/bin/sh", "-c", "echo x >> "+args[0]+"; sleep 100")
			_ = cmd.Start()
			go func() { _ = cmd.Wait() }()
		}
	case "as-busy": // starts one that ends at once, and the next
		fmt.Println("ok")
		for {
			_ = exec.Command("/bin/true").Run()
		}
	case "as-server": // answers on TCP what it is sent, behind its address
		l, err := net.Listen("tcp", args[0])
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("ok")
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				b := make([]byte, 1)
				for {
					if _, err := c.Read(b); err != nil {
						return
					}
					_, _ = c.Write(b)
				}
			}()
		}
	}
	time.Sleep(2 * time.Minute) // whatever becomes of the test
}

// child starts one and waits until it has begun.
func child(role string, args ...string) {
	cmd := exec.Command("/proc/self/exe", append([]string{role}, args...)...)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if cmd.Start() == nil {
		_, _ = in.Write([]byte("go\n"))
		_, _ = out.Read(make([]byte, 3))
	}
}
