import { problem, type Finding } from './finding.js';

const OWN_CA = 'NODE_EXTRA_CA_CERTS=/path/to/ca.pem, where a CA of your own has signed it.';

/** OpenSSL's and Node's codes, and what to do about each. */
const REMEDIES: Record<string, string> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: OWN_CA,
  SELF_SIGNED_CERT_IN_CHAIN: OWN_CA,
  UNABLE_TO_GET_ISSUER_CERT: OWN_CA,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: OWN_CA,
  CERT_UNTRUSTED: OWN_CA,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: `Let the broker send the whole chain; or ${OWN_CA}`,
  CERT_HAS_EXPIRED: 'Renew the certificate.',
  CERT_NOT_YET_VALID: 'Check the clocks.',
  ERR_TLS_CERT_ALTNAME_INVALID:
    'Use a host name that the certificate is for, or make it for this one.',
};

/** What is wrong with the certificate behind an error, or behind what caused it; undefined when it is none of that. */
export function judgeCertificate(host: string, error: unknown): Finding | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const code = 'code' in cause ? String(cause.code) : '';
    const remedy = REMEDIES[code];
    if (remedy !== undefined) {
      return problem(`The certificate of ${host} is not trusted (${code}).`, remedy);
    }
  }
  return undefined;
}
