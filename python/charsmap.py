"""Rules that replace pieces of a text, as sentencepiece stores them: the precompiled_charsmap of a tokenizer."""
import struct

SIZE = 1 << 14             # units, more than the rules of any test need


def charsmap(rules):
    """rules: {text: what it becomes}. A double array of bytes (J. Aoe, An efficient digital search algorithm by using a
    double-array structure, 1989), and the texts that its leaves point at."""
    texts, trie = b"", {}
    for k, v in rules.items():
        node = trie
        for b in k.encode():
            node = node.setdefault(b, {})
        node[None] = len(texts)
        texts += v.encode() + b"\0"
    units, used = [0] * SIZE, {0}

    def place(node, at):
        labels = [b or 0 for b in node]
        base = next(b for b in range(1, SIZE - 256) if not used & {b ^ x for x in labels})
        used.update(base ^ x for x in labels)
        units[at] |= (base ^ at) << 10
        if None in node:
            units[at] |= 1 << 8
            units[base] = node[None] | 1 << 31
        for b, child in node.items():
            if b is not None:
                units[base ^ b] |= b
                place(child, base ^ b)

    place(trie, 0)
    n = (max(used) // 256 + 1) * 256
    blob = struct.pack(f"<{n}I", *units[:n])
    return struct.pack("<I", len(blob)) + blob + texts
