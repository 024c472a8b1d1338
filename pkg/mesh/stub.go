package mesh

// MeshHelloResponse is a placeholder for the structure that this package is about to define.
type MeshHelloResponse struct{}

// StatusResponse likewise.
type StatusResponse struct{}
