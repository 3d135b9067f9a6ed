package api

// Split cuts a file of YAML (or JSON) documents into objects. Items of a kind List become
// objects of their own. A document with a top key tmm or controller and no kind is Helm
// values. Documents that are no object are InputErrors, joined; the others are returned.
func Split(file string, data []byte) ([]Object, error) { return nil, nil }

// Decode reads objects into typed resources. What an object's author should know but that
// harms nothing is a Warning; objects that cannot be read are left out and their InputErrors
// are joined.
func Decode(objs []Object) (Resources, []Warning, error) { return Resources{}, nil, nil }
