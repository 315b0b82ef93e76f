"""How many tokens merging leaves; known where nobody has torch yet."""


def remaining(tokens: int, count: int, blocks: int) -> int:
    """Tokens that are left of ``tokens`` behind ``blocks``, of which the last merges nothing.

    Args:
        tokens: the class token and the patches.
        count: tokens merged in a block, at most half of those that are left.
        blocks: of the network.
    """
    for _ in range(blocks - 1):
        tokens -= min(count, (tokens - 1) // 2)
    return tokens
