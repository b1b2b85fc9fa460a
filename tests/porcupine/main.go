// Reads histories from standard input and has Porcupine say whether each is linearizable. Exit status 1 if one is not.
package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

// What may be told of one object before its judge gives up: then nothing is proven, and that is said.
const patience = 60 * time.Second

type token [2]uint64

func (t token) newer(than token) bool {
	return t[0] > than[0] || (t[0] == than[0] && t[1] > than[1])
}

type operation struct {
	Client   int    `json:"client"`
	Asked    string `json:"asked"`
	With     token  `json:"with"`
	Answered string `json:"answered"`
	Token    token  `json:"token"`
	Value    uint64 `json:"value"`
	From     int64  `json:"from"`
	To       *int64 `json:"to"`
}

type history struct {
	Kind       string      `json:"kind"`
	Name       string      `json:"name"`
	Operations []operation `json:"operations"`
}

// Who holds a lease, by token, and the greatest token that is known. Unheard: somebody who had no answer. Open: how
// many have asked for it so far, had no answer, and have not been given it: it may be given to one of them at any time.
type lease struct {
	held    bool
	unheard bool
	by      token
	last    token
	open    int
}

// What came of an operation, with or without its having been given before to one of those who had no answer. This is
// what keeps the search short: a request without an answer does not stay beside all that comes after it.
func stepLease(before, input, output interface{}) []interface{} {
	s := before.(lease)
	after := stepGiven(s, input.(operation))
	if s.open > 0 && !s.unheard {
		given := lease{held: true, unheard: true, last: s.last, open: s.open - 1}
		after = append(after, stepGiven(given, input.(operation))...)
	}
	return after
}

func stepGiven(s lease, op operation) []interface{} {
	free := lease{last: s.last, open: s.open}
	mine := s.held && !s.unheard && s.by == op.With
	switch {
	case op.Asked == "acquire" && op.Answered == "granted" && op.Token.newer(s.last):
		return []interface{}{lease{held: true, by: op.Token, last: op.Token, open: s.open}}
	case op.Asked == "acquire" && op.Answered == "taken" && s.held:
		return []interface{}{s}
	case op.Asked == "acquire" && op.Answered == "":
		s.open++
		return []interface{}{s}
	case op.Asked == "renew" && op.Answered == "done" && mine:
		return []interface{}{s}
	case op.Asked == "renew" && op.Answered == "gone", op.Asked == "release" && op.Answered != "":
		if mine {
			return []interface{}{free}
		}
		return []interface{}{s}
	case op.Asked == "read" && op.Answered == "nobody":
		return []interface{}{free}
	case op.Asked == "read" && op.Answered == "holder" && s.held && !s.unheard && s.by == op.Token:
		return []interface{}{s}
	case op.Asked == "read" && op.Answered == "holder" && s.unheard && op.Token.newer(s.last):
		return []interface{}{lease{held: true, by: op.Token, last: op.Token, open: s.open}}
	}
	return nil
}

type register struct {
	value uint64
	last  token
}

func stepRegister(before, input, _ interface{}) []interface{} {
	s, op := before.(register), input.(operation)
	fits := !s.last.newer(op.With)
	switch {
	case op.Asked == "write" && op.Answered == "written" && fits:
		return []interface{}{register{op.Value, op.With}}
	case op.Asked == "write" && op.Answered == "stale" && !fits:
		return []interface{}{s}
	case op.Asked == "write" && op.Answered == "":
		if fits {
			return []interface{}{s, register{op.Value, op.With}}
		}
		return []interface{}{s}
	case op.Asked == "read" && op.Answered == "value" && op.Value == s.value:
		return []interface{}{s}
	case op.Asked == "read" && op.Answered == "":
		return []interface{}{s}
	}
	return nil
}

func model(kind string) (porcupine.Model, error) {
	one := func(begin interface{}, step func(_, _, _ interface{}) []interface{}) porcupine.Model {
		rules := porcupine.NondeterministicModel{Init: func() []interface{} { return []interface{}{begin} }, Step: step}
		return rules.ToModel()
	}
	switch kind {
	case "lease":
		return one(lease{}, stepLease), nil
	case "register":
		return one(register{}, stepRegister), nil
	}
	return porcupine.Model{}, fmt.Errorf("no rules for %q", kind)
}

func run() error {
	var all []history
	if err := json.NewDecoder(os.Stdin).Decode(&all); err != nil {
		return err
	}
	for _, h := range all {
		rules, err := model(h.Kind)
		if err != nil {
			return err
		}
		var operations []porcupine.Operation
		for i, op := range h.Operations {
			to := int64(math.MaxInt64)
			client := op.Client
			switch {
			case op.To != nil:
				to = *op.To
			case h.Kind == "lease" && op.Asked != "acquire":
				// A lease may end by time at any moment: what has no answer explains nothing else.
				continue
			case h.Kind == "lease":
				// From now on it may be given to whoever asked: the state knows.
				to, client = op.From, 1_000_000+i
			default:
				// It may take effect as long as there is a history: nobody else is that client.
				client = 1_000_000 + i
			}
			operations = append(operations, porcupine.Operation{ClientId: client, Input: op, Call: op.From, Output: op, Return: to})
		}
		if result := porcupine.CheckOperationsTimeout(rules, operations, patience); result != porcupine.Ok {
			return fmt.Errorf("%s %s: %s, %d operations", h.Kind, h.Name, result, len(operations))
		}
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
