"""The pipeline: a token's way from detected to ready, one module for each step.

| Step | Claims | Calls | Settles |
|---|---|---|---|
| `order` | tokens that want an image and have no open job | a prediction | id, refused or lost |
| `poll` | jobs whose callback is late | predictions, listed or one by one | the outcome |
| `find` | jobs whose reply was lost | the listing | the id, or surely never made |
| `collect` | jobs that ended | download, decode, CID | bytes, metadata; `uploading` |
| `pin` | tokens with a file that is not pinned | pin | upload records; `ready` |
"""
