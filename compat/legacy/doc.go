// Package legacy is the dialect of the Flask service that the gateway
// replaces: what its callers may send to /ocr and /ocr/batch, and the exact
// bytes that they get back. It is made of pure functions over bytes and knows
// neither a server nor a backend.
//
// A request is placed by MatchRoute. The body of an upload is read by ParseForm,
// which sees a form as Werkzeug 3.1.8 sees it and copies no file, and then
// checked in the service's own order by Profile.ParseOCR or
// Profile.ParseBatch. What the model says of an image becomes a body through
// Profile.Answer and Profile.Batch; everything that goes wrong is an *Error,
// which is its own body. A Profile says which of the service's two programs is
// spoken, or the union of both. What the service never had, a JSON body
// (ParseUpload), a model's name and a Format, belongs to the union alone.
package legacy
