// Package mesh has the vocabulary of the Mesh: profiles, connections, activations, catalog entries, messages,
// and the requests and responses of the Mesh Service Protocol, with their exact wire names.
package mesh
