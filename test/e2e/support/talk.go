// Command talk is a program of Go for tests: `talk serve ADDRESS` reads whatever comes, `talk send ADDRESS` sends for a second.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		os.Exit(2)
	}
	if os.Args[1] == "serve" {
		listener, err := net.Listen("tcp", os.Args[2])
		if err != nil {
			panic(err)
		}
		fmt.Println("ready")
		for {
			connection, err := listener.Accept()
			if err != nil {
				panic(err)
			}
			go io.Copy(io.Discard, connection)
		}
	}
	connection, err := net.Dial("tcp", os.Args[2])
	if err != nil {
		panic(err)
	}
	bytes := make([]byte, 16384)
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		if _, err := connection.Write(bytes); err != nil {
			panic(err)
		}
	}
	fmt.Println("sent")
}
