package config

import (
	"fmt"
	"slices"
)

// tlsKeys are Kafka's keys of TLS, as far as they mean something here. Each listener may have its own.
func tlsKeys() []Key {
	perListener := func(k *Key) { k.PerListener = true }
	return []Key{
		define("ssl.keystore.type", String, "PEM",
			"What `ssl.keystore.location` is: PEM or PKCS12. Kafka's default is JKS, which is not read (keytool makes PKCS12 of it).",
			allow(storeType()), readOnly, perListener),
		define("ssl.keystore.location", String, "",
			"The file that holds private key and certificates. PEM: the key, then the broker's own certificate, then what it was signed by. Read again when it changes.",
			readOnly, perListener),
		define("ssl.keystore.password", Password, "",
			"Opens a keystore of type PKCS12.",
			readOnly, sensitive, perListener),
		define("ssl.keystore.certificate.chain", String, "",
			"The broker's own certificate and what it was signed by, as PEM; or, Qanat's own, the path of a file that holds that, which is read again when it changes. In place of `ssl.keystore.location`, together with `ssl.keystore.key`.",
			readOnly, perListener),
		define("ssl.keystore.key", Password, "",
			"The private key, as PEM (PKCS#8, PKCS#1 or SEC 1); or, Qanat's own, the path of a file that holds that.",
			readOnly, sensitive, perListener),
		define("ssl.key.password", Password, "",
			"Opens an encrypted private key (PKCS#8).",
			readOnly, sensitive, perListener),
		define("ssl.truststore.type", String, "PEM",
			"What `ssl.truststore.location` is: PEM or PKCS12. Kafka's default is JKS, which is not read.",
			allow(storeType()), readOnly, perListener),
		define("ssl.truststore.location", String, "",
			"The file that holds the CAs whose certificates are trusted, of clients and of other brokers. Read again when it changes.",
			readOnly, perListener),
		define("ssl.truststore.password", Password, "",
			"Opens a truststore of type PKCS12.",
			readOnly, sensitive, perListener),
		define("ssl.truststore.certificates", String, "",
			"The same CAs as PEM; or, Qanat's own, the path of a file. In place of `ssl.truststore.location`.",
			readOnly, perListener),
		define("ssl.client.auth", String, "none",
			"Whether clients show a certificate: `none`, `requested` (those that have one) or `required`. Brokers among each other always do.",
			allow(oneOf("none", "requested", "required")), readOnly, perListener),
		define("ssl.enabled.protocols", List, "TLSv1.2,TLSv1.3",
			"Versions of TLS that are spoken. Older ones do not exist.",
			allow(listOf("TLSv1.2", "TLSv1.3")), readOnly, perListener),
		define("ssl.cipher.suites", List, "",
			"Cipher suites for TLS 1.2, by the names of IANA, such as TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256. Empty: all that are safe. Those of TLS 1.3 are not to be chosen.",
			readOnly, perListener),
		define("ssl.principal.mapping.rules", String, "DEFAULT",
			"What a client is called by its certificate (KIP-371): `DEFAULT`, the whole subject, or `RULE:pattern/replacement/` with `L` or `U` behind it; comma-separated, the first that fits counts.",
			readOnly, perListener),
		define("ssl.reload.interval.ms", Long, number(10*second),
			"Qanat's own. How often it is looked whether TLS files have changed. New ones are used for new connections; what cannot be used is told of, and leaves the old ones in use.",
			allow(between(10, 1<<31-1)), readOnly),
		define("ssl.endpoint.identification.algorithm", String, "https",
			"Taken for the sake of files that have it.", readOnly, perListener,
			inert("Brokers know each other by the role in their certificates, not by host names.")),
	}
}

// storeType refuses Java's own store here and in words: the type is known before its file is looked at.
func storeType() rule {
	const words = "PEM or PKCS12"
	return rule{words, func(v string) error {
		if v == "JKS" {
			return fmt.Errorf("%s: a Java keystore is not read; keytool -importkeystore -srckeystore FILE -destkeystore FILE.p12 -deststoretype PKCS12 makes PKCS12 of it", words)
		}
		return oneOf("PEM", "PKCS12").check(v)
	}}
}

// listOf allows lists of the given words, at least one.
func listOf(words ...string) rule {
	one := oneOf(words...)
	text := "a list of " + one.valid
	return rule{text, func(v string) error {
		items := SplitList(v)
		if len(items) == 0 || slices.ContainsFunc(items, func(i string) bool { return one.check(i) != nil }) {
			return fmt.Errorf("%s", text)
		}
		return nil
	}}
}
