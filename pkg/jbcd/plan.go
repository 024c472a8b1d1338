package jbcd

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// plan is how values of one type are read and written. It is made once per type.
type plan struct {
	read  func(s *scanner, t token, v reflect.Value) error // v is settable; t is not null
	write func(out []byte, v reflect.Value) ([]byte, error)
	empty func(v reflect.Value) bool // for omitempty
	err   error                      // the type has no JSON form
}

// plans remembers planOf, a pure function of the type; it is the only state of the package.
var plans sync.Map // reflect.Type → *plan

var (
	typeRaw         = reflect.TypeFor[Raw]()
	typeBinary      = reflect.TypeFor[Binary]()
	typeTime        = reflect.TypeFor[Time]()
	typeMarshaler   = reflect.TypeFor[Marshaler]()
	typeUnmarshaler = reflect.TypeFor[Unmarshaler]()
	typeElements    = reflect.TypeFor[ElementsUnmarshaler]()
)

// planOf returns the plan of t.
func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	p, _ := plans.LoadOrStore(t, makePlan(t))
	return p.(*plan)
}

func makePlan(t reflect.Type) *plan {
	p := &plan{empty: reflect.Value.IsZero}
	switch t {
	case typeRaw:
		p.read, p.write, p.empty = readRaw, writeRaw, emptyLen
		return p
	case typeBinary:
		p.read, p.write, p.empty = readBinary, writeBinary, emptyLen
		return p
	case typeTime:
		p.read, p.write, p.empty = readTime, writeTime, emptyTime
		return p
	}
	switch t.Kind() {
	case reflect.Pointer:
		elem := lazy(t.Elem())
		p.read = func(s *scanner, t token, v reflect.Value) error {
			n := reflect.New(v.Type().Elem())
			if err := elem().read(s, t, n.Elem()); err != nil {
				return err
			}
			v.Set(n)
			return nil
		}
		p.write = func(out []byte, v reflect.Value) ([]byte, error) {
			if v.IsNil() {
				return append(out, "null"...), nil
			}
			return elem().write(out, v.Elem())
		}
	case reflect.Struct:
		fields, err := fieldsOf(t)
		if err != nil {
			p.err = err
			break
		}
		p.read, p.write = fields.read, fields.write
	case reflect.Slice:
		elem := lazy(t.Elem())
		p.empty = emptyLen
		p.read = func(s *scanner, t token, v reflect.Value) error { return readSlice(s, t, v, elem()) }
		p.write = func(out []byte, v reflect.Value) ([]byte, error) { return writeSlice(out, v, elem()) }
	case reflect.String:
		p.read, p.write = readString, writeString
	case reflect.Bool:
		p.read, p.write = readBool, writeBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		p.read, p.write = readInt, writeInt
	default:
		p.err = fmt.Errorf("jbcd: the type %v has no JSON form", t)
	}
	// What a type does by itself wins. A pointer's own methods are found on its element.
	if t.Kind() != reflect.Pointer {
		switch {
		case reflect.PointerTo(t).Implements(typeElements):
			p.read, p.err = readElements, nil
		case reflect.PointerTo(t).Implements(typeUnmarshaler):
			p.read, p.err = readOwn, nil
		}
		if reflect.PointerTo(t).Implements(typeMarshaler) {
			p.write, p.err = writeOwn, nil
		}
	}
	if p.err != nil || p.read == nil || p.write == nil {
		err := p.err
		if err == nil {
			err = fmt.Errorf("jbcd: the type %v is read or written, not both", t)
			p.err = err
		}
		if p.read == nil {
			p.read = func(*scanner, token, reflect.Value) error { return err }
		}
		if p.write == nil {
			p.write = func([]byte, reflect.Value) ([]byte, error) { return nil, err }
		}
	}
	return p
}

// lazy returns the plan of t when it is first needed: types may contain themselves.
func lazy(t reflect.Type) func() *plan {
	return sync.OnceValue(func() *plan { return planOf(t) })
}

// emptyLen and emptyTime say what omitempty leaves out.
func emptyLen(v reflect.Value) bool  { return v.Len() == 0 }
func emptyTime(v reflect.Value) bool { return v.Field(0).IsZero() }

// field is a member of a struct, embedded structs flattened.
type field struct {
	name      string
	key       []byte // `"name":`, as written
	index     []int
	omitEmpty bool
	plan      func() *plan
}

type fields struct {
	list   []field
	byName map[string]int
}

func fieldsOf(t reflect.Type) (*fields, error) {
	f := &fields{byName: map[string]int{}}
	if err := f.add(t, nil); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *fields) add(t reflect.Type, index []int) error {
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, tagged := sf.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		at := append(append([]int(nil), index...), i)
		switch {
		case sf.Anonymous && !tagged && sf.Type.Kind() == reflect.Struct:
			if err := f.add(sf.Type, at); err != nil {
				return err
			}
			continue
		case name == "-" || !sf.IsExported():
			continue
		case name == "":
			name = sf.Name
		}
		if _, dup := f.byName[name]; dup {
			return fmt.Errorf("jbcd: the type %v has two members %q", t, name)
		}
		key, err := appendString(nil, name)
		if err != nil {
			return err
		}
		f.byName[name] = len(f.list)
		f.list = append(f.list, field{
			name:      name,
			key:       append(key, ':'),
			index:     at,
			omitEmpty: options == "omitempty",
			plan:      lazy(sf.Type),
		})
	}
	return nil
}

// in returns the field's value inside the struct v.
func (f *field) in(v reflect.Value) reflect.Value {
	for _, i := range f.index {
		v = v.Field(i)
	}
	return v
}
