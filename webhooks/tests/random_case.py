"""One random case: a history of the chain, the deliveries of it, and the program in between."""

from __future__ import annotations

import random
from collections.abc import Callable

from django.db import connection

from authors.tests.factories import wallet
from tokens.models import ImageGenerationJob, Token
from tokens.models.job import JobStatus
from tokens.states import TokenStatus
from tokens.tests.recovery.model_chain import Mint, ModelChain, PlacedMint, Transaction
from tokens.tests.recovery.model_node import ModelNode
from webhooks.tests.chain_equality import REGISTERED, differences
from webhooks.tests.random_deliveries import Deliveries, Receive

_AUTHORS = [*REGISTERED, wallet(0xA3)]
_MINTERS = [wallet(0xC1), wallet(0xC2)]
_PROOFS_ALLOWED = 5

# Look at the chain by this node, thoroughly or not; a node that fails is no error.
Look = Callable[[ModelNode, bool], None]


def forget_everything() -> None:
    """Empty all tables that a case writes to, and give their space back."""
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE tokens_s0, mint_events, webhook_events, image_generation_jobs, "
            "token_transitions, system_state, django_q_ormq CASCADE"
        )


class Case:
    """`story` says what the dice brought, in which order."""

    def __init__(self, seed: int, *, receive: Receive, look: Look) -> None:
        self.seed = seed
        self.dice = dice = random.Random(seed)
        self.reorged = False
        self.story: list[str] = []
        self.paid: set[str] = set()
        self.chain = ModelChain()
        self.node = ModelNode(self.chain, dice=dice)
        self.node.range_blocks = dice.choice([None, None, None, None, 4, 10])
        self.node.stamps_logs = dice.random() < 0.7
        self.deliveries = Deliveries(self.chain, dice, receive)
        self._look = look

    # -- the chain ----------------------------------------------------------------------

    def new_transaction(self) -> Transaction:
        dice = self.dice
        mints = [
            Mint(dice.choice(_MINTERS), dice.choice(_AUTHORS), dice.choice([1, 1, 2, 5]))
            for _ in range(dice.choice([1, 1, 1, 2]))
        ]
        return self.chain.transaction(*mints)

    def mine(self) -> None:
        count = self.dice.choice([0, 1, 1, 2, 3])
        self.deliveries.tell(self.chain.mine(*(self.new_transaction() for _ in range(count))))

    def wait(self) -> None:
        """Let the chain go on without mints: those that were seen may settle."""
        self.chain.mine_empty(self.dice.choice([1, 3, 15]))

    def reveal(self) -> None:
        """Somebody reveals tokens by a keeper's key that is not ours."""
        known = self.chain.revealed()
        ids = [i for mint in self.chain.mints() for i in mint.token_ids if i not in known]
        if ids:
            chosen = self.dice.sample(ids, min(len(ids), 2))
            self.chain.mine(self.chain.transaction(revealed=chosen))

    def reorg(self) -> None:
        gone = self._replace_blocks(self.dice.choice([1, 1, 1, 2, 3, 10]))
        if self.dice.random() < 0.3:
            self.deliveries.take_back(gone)

    def late_alarm(self) -> None:
        """Mints that were settled long ago are told to be gone, and now and then they are."""
        self.chain.mine_empty(16)
        self.look()
        if self.dice.random() < 0.3:
            self.deliveries.take_back(self._replace_blocks(20), surely=True)
        else:
            told = self.chain.mints()
            self.deliveries.take_back(self.dice.sample(told, min(len(told), 2)), surely=True)

    def _replace_blocks(self, depth: int) -> list[PlacedMint]:
        """Have a reorg, and tell of its blocks; return the mints that stand there no more."""
        dice, chain = self.dice, self.chain
        depth = min(depth, chain.head.number)
        if not depth:
            return []
        self.reorged = True
        first_gone = chain.head.number - depth + 1
        gone = [mint for mint in chain.mints() if mint.block.number >= first_gone]
        again = [t for block in chain.blocks[-depth:] for t in block.transactions]
        again = [t for t in again if dice.random() < 0.6]
        dice.shuffle(again)
        again += [self.new_transaction() for _ in range(dice.choice([0, 0, 1, 2]))]
        blocks: list[list[Transaction]] = [[] for _ in range(depth + dice.choice([0, 1]))]
        for each in again:
            blocks[dice.randrange(len(blocks))].append(each)
        # A reveal needs no token, but these are of tokens: it comes after them all.
        for transactions in blocks:
            transactions.sort(key=lambda t: bool(t.revealed))
        chain.reorg(depth, blocks)
        for block in chain.blocks[-len(blocks) :]:
            self.deliveries.tell(block)
        return gone

    # -- the program --------------------------------------------------------------------

    def look(self) -> None:
        self._look(self.node, False)

    def look_badly(self) -> None:
        """Look by a node that lags, hides its logs, loses answers, or is down."""
        node, dice = self.node, self.dice
        match dice.randrange(4):
            case 0:
                node.lag = dice.choice([1, 2, 5, 20])
            case 1:
                node.hides_logs = True
            case 2:
                node.drops = dice.choice([0.1, 0.5])
            case 3:
                node.down = True
        self._look(node, dice.random() < 0.2)
        for _ in range(dice.choice([0, 0, 2])):  # it stays so, while the chain goes on
            self.chain.mine_empty(dice.choice([2, 8]))
            self._look(node, False)
        node.lag, node.hides_logs, node.drops, node.down = 0, False, 0.0, False

    def work(self) -> None:
        """Be somewhere in the middle of generating a token; its prediction is paid for."""
        found = Token.objects.filter(status=TokenStatus.DETECTED).order_by("token_id")
        waiting = dict(found.values_list("token_id", "prompt"))
        if not waiting:
            return
        token_id = self.dice.choice(list(waiting))
        Token.objects.filter(pk=token_id).update(status=TokenStatus.GENERATING, attempts=1)
        name = f"prediction{len(self.paid)}"
        self.paid.add(name)
        ImageGenerationJob.objects.create(
            token_id=token_id,
            prompt=waiting[token_id],
            input={},
            service="replicate",
            model="m",
            external_id=name,
            attempt_number=1,
            status=JobStatus.SUBMITTED,
        )

    # -- the whole ----------------------------------------------------------------------

    def play_to_the_end(self) -> None:
        """Play the case; should it fail, say how to play it again."""
        try:
            self.play()
            self.settle()
        except BaseException as error:
            error.add_note(f"the case of seed {self.seed}: {' '.join(self.story)}")
            error.add_note(f"again with GLISK_RECOVERY_SEED={self.seed} GLISK_RECOVERY_CASES=1")
            raise

    def play(self) -> None:
        """Play any history, few steps of it mostly, many of it now and then."""
        dice = self.dice
        actions = [self.mine] * 7 + [self.deliveries.deliver] * 9 + [self.look] * 3
        actions += [self.look_badly, self.reorg, self.reveal, self.work, self.wait]
        least, most = dice.choice([(4, 8)] * 14 + [(8, 16)] * 5 + [(16, 40)])
        self.mine()
        for _ in range(dice.randint(least, most)):
            self._do(dice.choice(actions))
        if dice.random() < 0.1:
            self._do(self.late_alarm)
        while self.deliveries.waiting and dice.random() < 0.8:
            self._do(self.deliveries.deliver)

    def settle(self) -> None:
        """Let the chain go on without mints and the program look as it does by itself.

        It ends when a look needs one request only and nothing differs from the chain; raises
        `AssertionError` if that never comes.
        """
        if self.dice.random() < 0.2:  # in the middle of it, too
            self._do(self.look)
            self.chain.mine_empty(3)
        self.chain.mine_empty(16)
        thorough = self.dice.random() < 0.15
        told = ["no look is content with one request"]
        for _ in range(_PROOFS_ALLOWED):
            self._look(self.node, thorough)
            self.chain.mine_empty(2)
            self.node.requests = 0
            self.look()
            if self.node.requests == 1:
                told = differences(self.chain, self.paid, reorged=self.reorged)
                if not told:
                    return
            thorough = True
        raise AssertionError("\n".join(["the database differs from the chain:", *told]))

    def _do(self, action: Callable[[], None]) -> None:
        self.story.append(action.__name__)
        action()
