package make1

// secrets is what both sides of an exchange hold between its steps.
type secrets struct {
	ck0  []byte
	u    []byte // E.u
	salt []byte // of the request
	es   []byte
	ss   []byte // nil until the caller is known
	th   []byte // of the request as it was sent or received
}

// credentialBox is K1: it opens with es alone.
func (x *secrets) credentialBox() box {
	return wrapBox(derive(x.es, x.ck0, wrapLen, labelCredential, x.u, x.salt))
}

// requestBox is keyed by MK: H(rkd) ties the payload to the credential shown.
func (x *secrets) requestBox(rkd []byte) box {
	return payloadBox(derive(cat(x.es, x.ss), x.ck0, keyLen, labelMaster, x.u, x.salt, hash(rkd)), x.salt)
}

// refusalBox is K_err for one answer: salt is that of the answer and new for each.
func (x *secrets) refusalBox(salt []byte) box {
	return wrapBox(derive(x.es, x.ck0, wrapLen, labelError, x.u, salt))
}

// answerSecrets derives the keys of one exchange response.
type answerSecrets struct {
	ikm, ck0, bind, salt []byte
}

// answer takes ee, se, F.u and the Salt of the response.
func (x *secrets) answer(ee, se, u, salt []byte) *answerSecrets {
	return &answerSecrets{ikm: cat(x.es, x.ss, ee, se), ck0: x.ck0, bind: cat(u, salt, x.th), salt: salt}
}

func (a *answerSecrets) payloadBox() box {
	return payloadBox(derive(a.ikm, a.ck0, keyLen, labelResponse, a.bind), a.salt)
}

func (a *answerSecrets) ticketBox() box {
	return wrapBox(derive(a.ikm, a.ck0, wrapLen, labelTicketWrap, a.bind))
}

func (a *answerSecrets) ticketSecret() []byte {
	return derive(a.ikm, a.ck0, keyLen, labelTicketKey, a.bind)
}
