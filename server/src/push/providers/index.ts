import type { PushProviderName } from '@warren/protocol';
import { SignedPost } from '../../outbound/signed-post.js';
import { FcmProvider, type FcmOptions } from './fcm.js';
import type { PushProvider } from './provider.js';
import { WebhookProvider } from './webhook.js';
import { WebPushProvider, type WebPushOptions } from './web-push.js';

/** What each provider needs; one that is missing cannot be registered with. */
export interface ProviderSettings {
  webpush?: WebPushOptions | undefined;
  fcm?: FcmOptions | undefined;
  /** A push proxy of the application's. */
  webhook?: { url: string; secret: string } | undefined;
}

export type PushProviders = Partial<Record<PushProviderName, PushProvider>> & {
  webpush?: WebPushProvider;
};

export function createProviders({ webpush, fcm, webhook }: ProviderSettings): PushProviders {
  return {
    ...(webpush !== undefined && { webpush: new WebPushProvider(webpush) }),
    ...(fcm !== undefined && { fcm: new FcmProvider(fcm) }),
    ...(webhook !== undefined && {
      webhook: new WebhookProvider(new SignedPost(webhook.url, webhook.secret)),
    }),
  };
}
