import { useEffect, useState, useSyncExternalStore } from 'react';
import { FlatList, Pressable, StyleSheet, Text, View } from 'react-native';
import { openInbox } from './connect';
import type { Inbox, Note } from './inbox';

const USER = 'alice';

export function App() {
  const [inbox, setInbox] = useState<Inbox>();
  useEffect(() => {
    let letGo = (): void => undefined;
    let isGone = false;
    void openInbox(USER).then((opened) => {
      if (isGone) return;
      setInbox(opened);
      letGo = opened.client.retain();
    });
    return () => {
      isGone = true;
      letGo();
    };
  }, []);
  return (
    <View style={styles.screen}>
      {inbox === undefined ? <Text>…</Text> : <Notes inbox={inbox} />}
    </View>
  );
}

function Notes({ inbox }: { inbox: Inbox }) {
  const { notes, connection } = useSyncExternalStore(inbox.subscribe, inbox.getView);
  const unread = notes.filter(({ isRead }) => !isRead).length;
  return (
    <>
      <Text style={styles.status}>
        {connection.receiving ? 'Connected' : connection.state}
        {unread > 0 && `, ${String(unread)} unread`}
      </Text>
      <FlatList
        data={notes}
        keyExtractor={({ id }) => id}
        renderItem={({ item }) => <NoteRow note={item} onPress={() => void inbox.read(item.id)} />}
      />
    </>
  );
}

function NoteRow({ note, onPress }: { note: Note; onPress: () => void }) {
  return (
    <Pressable onPress={onPress} style={styles.note} accessibilityRole="button">
      <Text style={note.isRead ? styles.title : styles.unread}>{note.title}</Text>
      <Text>{note.text}</Text>
    </Pressable>
  );
}

const styles = StyleSheet.create({
  screen: { flex: 1, paddingTop: 48 },
  status: { padding: 16, color: '#5f645a' },
  note: { padding: 16, borderTopWidth: StyleSheet.hairlineWidth, borderColor: '#dcd8cc' },
  title: { fontSize: 16 },
  unread: { fontSize: 16, fontWeight: 'bold' },
});
