// Mails over ten kept connections, rendered for each recipient: what a program costs that sends and keeps no record.
//
//	go_smtp <smtp port> <count>
//
// It begins with a line on its standard input, and stays after its last mail until that ends, so that its CPU time can
// be read.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	htmltemplate "html/template"
	"io"
	"log"
	"mime/multipart"
	"mime/quotedprintable"
	"net/smtp"
	"net/textproto"
	"os"
	"strconv"
	"sync"
	texttemplate "text/template"
	"time"
)

const connections = 10

const textSource = "Hello {{.Name}},\n\nyour order {{.Order}} has been sent today. " +
	"Thank you for buying from us.\n\nThe shop\n"

const htmlSource = "<html><body><h1>Hello {{.Name}},</h1><p>your order <b>{{.Order}}</b> has been sent today. " +
	"Thank you for buying from us.</p><p>The shop</p></body></html>"

var (
	text = texttemplate.Must(texttemplate.New("text").Parse(textSource))
	html = htmltemplate.Must(htmltemplate.New("html").Parse(htmlSource))
)

type variables struct{ Name, Order string }

type renderer interface {
	Execute(into io.Writer, values any) error
}

func main() {
	count, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	begin := bufio.NewReader(os.Stdin)
	if _, err := begin.ReadString('\n'); err != nil {
		log.Fatal(err)
	}
	numbers := make(chan int)
	var lines sync.WaitGroup
	for line := 0; line < connections; line++ {
		lines.Add(1)
		go func() {
			defer lines.Done()
			serve("127.0.0.1:"+os.Args[1], numbers)
		}()
	}
	for number := 0; number < count; number++ {
		numbers <- number
	}
	close(numbers)
	lines.Wait()
	if _, err := io.Copy(io.Discard, begin); err != nil {
		log.Fatal(err)
	}
}

func serve(address string, numbers <-chan int) {
	client, err := smtp.Dial(address)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for number := range numbers {
		if err := send(client, number); err != nil {
			log.Fatal(err)
		}
	}
}

func send(client *smtp.Client, number int) error {
	to := fmt.Sprintf("r%d@example.com", number)
	mail, err := written(to, number)
	if err != nil {
		return err
	}
	if err := client.Mail("shop@example.com"); err != nil {
		return err
	}
	if err := client.Rcpt(to); err != nil {
		return err
	}
	data, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := data.Write(mail); err != nil {
		return err
	}
	return data.Close()
}

func written(to string, number int) ([]byte, error) {
	values := variables{"Ada", fmt.Sprintf("A-%d", number)}
	now := time.Now()
	var mail bytes.Buffer
	parts := multipart.NewWriter(&mail)
	fmt.Fprintf(&mail, "From: Shop <shop@example.com>\r\nTo: %s\r\nSubject: Your order %s\r\n", to, values.Order)
	fmt.Fprintf(&mail, "Date: %s\r\nMessage-ID: <%d.%d@example.com>\r\n", now.Format(time.RFC1123Z), now.UnixNano(), number)
	fmt.Fprintf(&mail, "MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=%s\r\n\r\n", parts.Boundary())
	if err := add(parts, "text/plain", text, values); err != nil {
		return nil, err
	}
	if err := add(parts, "text/html", html, values); err != nil {
		return nil, err
	}
	return mail.Bytes(), parts.Close()
}

func add(parts *multipart.Writer, kind string, from renderer, values variables) error {
	head := textproto.MIMEHeader{}
	head.Set("Content-Type", kind+"; charset=utf-8")
	head.Set("Content-Transfer-Encoding", "quoted-printable")
	part, err := parts.CreatePart(head)
	if err != nil {
		return err
	}
	encoded := quotedprintable.NewWriter(part)
	if err := from.Execute(encoded, values); err != nil {
		return err
	}
	return encoded.Close()
}
