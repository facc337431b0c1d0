// Package compat speaks the OpenAI dialects: it reads a client's body without
// changing it, says where a backend's answer stands, and writes errors the way
// OpenAI's clients expect them.
//
// A body is scanned once (Parse): it is valid JSON that every parser reads
// alike, the parts in it are those that may pass, and the spans of what the
// gateway must know are remembered. What goes to a backend is the same bytes
// with a few top-level members set or added (Request.Rewrite); nothing is
// decoded into structs and encoded again. What comes back is cut into events
// (Splitter), read event by event (ParseChunk) and followed to its end
// (Ending). What a backend says of a failure becomes an Error (Normalise), as
// do the gateway's own refusals (NoKey and its neighbours).
package compat
