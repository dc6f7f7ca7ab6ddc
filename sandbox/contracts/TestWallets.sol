// SPDX-License-Identifier: MIT
pragma solidity 0.8.20;

import {Create2} from "@openzeppelin/contracts/utils/Create2.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @notice A smart wallet of one owner, who signs for it by ERC-1271.
contract OwnedWallet {
    address public immutable owner;

    constructor(address owner_) {
        owner = owner_;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature)
        external
        view
        returns (bytes4)
    {
        (address signer, ECDSA.RecoverError fault,) = ECDSA.tryRecover(hash, signature);
        bool accepted = fault == ECDSA.RecoverError.NoError && signer == owner;
        return accepted ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }
}

/// @notice Makes wallets at addresses that are known before (ERC-6492 speaks of these).
contract WalletFactory {
    function addressOf(address owner, uint256 salt) external view returns (address) {
        return Create2.computeAddress(bytes32(salt), keccak256(_code(owner)));
    }

    function create(address owner, uint256 salt) external returns (address) {
        return Create2.deploy(0, bytes32(salt), _code(owner));
    }

    function _code(address owner) private pure returns (bytes memory) {
        return abi.encodePacked(type(OwnedWallet).creationCode, abi.encode(owner));
    }
}

/// @notice A wallet that signs on chain, as a Safe does, whose signature is then empty.
contract ApprovingWallet {
    mapping(bytes32 hash => bytes32 signatureHash) private _approved;

    function approve(bytes32 hash, bytes calldata signature) external {
        _approved[hash] = keccak256(signature);
    }

    function isValidSignature(bytes32 hash, bytes calldata signature)
        external
        view
        returns (bytes4)
    {
        require(_approved[hash] == keccak256(signature), "Hash not approved");
        return 0x1626ba7e;
    }
}

/// @notice A contract whose answer to isValidSignature is not what the standard asks for.
contract OddWallet {
    enum Answer { Reverts, Loops, SaysTrue, SaysNothing, SaysTooMuch, AcceptsDryRuns }

    Answer private immutable _answer;

    constructor(Answer answer) {
        _answer = answer;
    }

    fallback() external {
        if (_answer == Answer.Reverts) revert("no");
        while (_answer == Answer.Loops) {}
        if (_answer == Answer.SaysTrue) assembly { mstore(0, 1) return(0, 32) }
        if (_answer == Answer.AcceptsDryRuns && tx.origin == address(0)) {
            bytes32 yes = bytes32(bytes4(0x1626ba7e));
            assembly { mstore(0, yes) return(0, 32) }
        }
        if (_answer == Answer.SaysTooMuch) assembly { return(0, 1000000) }
    }
}

/// @notice Farcaster's registries as far as a sign-in needs them; anybody may write.
contract FarcasterIdRegistry {
    mapping(address custody => uint256 fid) public idOf;

    function set(address custody, uint256 fid) external {
        idOf[custody] = fid;
    }
}

contract FarcasterKeyRegistry {
    struct KeyData {
        uint8 state;
        uint32 keyType;
    }

    mapping(uint256 fid => mapping(bytes key => KeyData data)) private _keys;

    function keyDataOf(uint256 fid, bytes calldata key) external view returns (KeyData memory) {
        return _keys[fid][key];
    }

    function set(uint256 fid, bytes calldata key, uint8 state, uint32 keyType) external {
        _keys[fid][key] = KeyData(state, keyType);
    }
}
